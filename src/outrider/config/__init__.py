"""Configuration: from files to validated messages, and how the rest of the proxy reads them.

errors.py       ConfigError, ConfigErrors
api.py          Envoy's message classes, in a private descriptor pool (data in _api/)
view.py         View: typed reading of a message, which notices what nobody read
shape.py        the field tables behind View
struct.py       google.protobuf.Struct to Python, and messages from Structs
support.py      SupportPolicy: what is done about unread fields
source.py       YAML and JSON text to trees, and the places of fields in the text
parse.py        trees to messages; parse_table.py and scalar.py say how each field is read
outdated.py     forms of v1.16 that became others
reach.py        what lies below a message type
rules.py        the constraints of validate.rules; constraint.py compiles one of them
notices.py      deprecated fields, work in progress, unknown fields
load.py         sources to checked messages
bootstrap.py    the bootstrap: the file, and --config-yaml merged over it
dump.py         messages to Envoy-style JSON, field masks
runtime*.py     runtime layers
stats_config.py stats_config of the bootstrap
"""
