"""What is defined in a script, and is to be had in processes that cannot import it; floor 0.

    parent   ScriptPickler: a function or class by value, with all that it uses
                 │                        ▲ by name, so that the parent gets its own
                 ▼                        │
    worker   main_module: its `__main__` has it under the same name

    pickler.py     writes what pickle can write, and what the script has made
    main_module.py the `__main__` of this process, and how it takes in what comes by value
    kinds.py       what pickle cannot write alone, and what is to be known of each kind
    names_used.py  which names of its module a function uses

Threads: what a process has taken in is added to while something is loaded, by one thread, and read while results are
packed, in any: to add to a dict and to look into it are single steps under the interpreter lock.
"""
