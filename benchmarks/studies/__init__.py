"""Studies behind figures of the docs, each a command of its own."""
