"""Configuration: from files to validated messages, and how the rest of the proxy reads them.

errors.py     ConfigError, ConfigErrors
api.py        Envoy's message classes, in a private descriptor pool (data in _api/)
view.py       View: typed reading of a message, which notices what nobody read
shape.py      the field tables behind View
struct.py     google.protobuf.Struct to Python
support.py    SupportPolicy: what is done about unread fields
source.py     YAML and JSON text to trees that know their lines
parse.py      trees to messages
rules.py      the constraints of validate.rules
bootstrap.py  the bootstrap: read, merge, parse, check
dump.py       messages to Envoy-style JSON, field masks
"""
