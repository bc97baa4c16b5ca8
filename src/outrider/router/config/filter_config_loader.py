"""Builds the filter configuration of one level from its `typed_per_filter_config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.http.filter_registry import HTTP_FILTERS, create_route_config
from outrider.router.config.filter_configs import FilterConfigs

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

OLD_CORS: Final = "envoy.config.route.v3.CorsPolicy"
"""Where the policies of the deprecated fields `cors` stand among the filter configurations: under their type."""

_WRAPPER: Final = "envoy.config.route.v3.FilterConfig"


def load_filter_configs(view: View, context: FactoryContext, above: FilterConfigs) -> FilterConfigs:
    """`above` with the level of `view` (a route, virtual host, ...) on top. Raises ConfigError.

    A filter that a level configures is thereby switched on there, unless FilterConfig.disabled says otherwise.
    """
    configs: dict[str, object] = {}
    flags: dict[str, int] = {}
    for name, given in view.any_map("typed_per_filter_config").items():
        config = given
        optional = False
        if given.type_name == _WRAPPER:
            optional = given.flag("is_optional")
            if given.flag("disabled"):
                flags[name] = 1
                given.accept("config")
                continue
            if not given.has("config"):
                raise given.error(f"Empty route/virtual host per filter configuration for {name} filter", "config")
            if not given.any_type("config"):
                given.accept("config")
                flags[name] = 0
                continue
            config = given.any("config")
        flags[name] = 0
        made = create_route_config(name, config, context)
        if made is not None:
            configs[name] = made
        elif optional:
            given.accept("config")
        elif HTTP_FILTERS.find(config) is not None:
            raise given.error(f"The filter {name} doesn't support virtual host or route specific configurations")
        else:
            raise given.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{config.type_name}'"
            )
    return above.below(configs, flags)


def load_old_cors(view: View, context: FactoryContext, above: FilterConfigs) -> FilterConfigs:
    """`above` with the deprecated field `cors` of a virtual host or a route action. Raises ConfigError.

    Envoy's filter looks at these policies where `typed_per_filter_config` has none.
    """
    policy = view.message("cors")
    assert policy is not None
    return above.below({OLD_CORS: create_route_config(OLD_CORS, policy, context)}, {})
