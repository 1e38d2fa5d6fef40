"""Which version this is; floor 0."""

VERSION = "2.0.0.dev0"
