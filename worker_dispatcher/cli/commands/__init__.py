"""The commands, a module each: `add` gives a command its options, and says which function runs it."""
