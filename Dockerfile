# syntax=docker/dockerfile:1
# Follows the conventions of Envoy's image: the configuration is /etc/envoy/envoy.yaml, the entry point takes Envoy's
# flags, the user is not root. `FROM envoyproxy/envoy...` becomes `FROM outrider` and nothing else changes.

FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libnghttp2-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv /opt/outrider
COPY requirements.lock ./
RUN /opt/outrider/bin/pip install --no-cache-dir -r requirements.lock
COPY pyproject.toml setup.py README.md ./
COPY tools ./tools
COPY src ./src
# A compiler that fails must fail the image: it should not be slow in silence.
RUN OUTRIDER_REQUIRE_COMPILED=1 /opt/outrider/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
# The library of the HTTP/2 codec.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libnghttp2-14 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/outrider /opt/outrider
RUN groupadd --gid 101 envoy \
    && useradd --uid 101 --gid 101 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin envoy \
    && mkdir -p /etc/envoy /etc/outrider \
    && ln -s /opt/outrider/bin/outrider /usr/local/bin/outrider
ENV PYTHONUNBUFFERED=1
USER 101:101
EXPOSE 10000
# Without -c outrider reads /etc/envoy/envoy.yaml, or /etc/outrider/outrider.yaml where that does not exist.
ENTRYPOINT ["outrider"]
