"""The config room: from the user's nested dict to a checked, frozen Config. Floor 1.

    user's dict --> read --> Reading.config      what the rest of the library reads; after this nobody reads a dict
               |        |
               |        +--> Reading.merged      the same with the user's own values, for get_last_config(), when asked
               +--> ConfigError                  all problems at once: path, expected, got, what to write

    options.py    every option declared once: default, rule, description; and the names this version does not have yet
      declare.py  what a declaration is; walks over all of them (parse and table do)
      rules.py    what a value may be, and in which form it is kept; pacing.py  the same for rates and stages
    together.py   options that are right one by one and make no sense together
    signature.py  how a user's function wants to be called; asked once for a config, which keeps it
    legacy.py     old names and what they mean now          spelling.py   the likeliest right name for a wrong one
    describe.py   how a value is shown in a message
    dicts.py      the nested dict as types, for editors

To add an option, declare its field in options.py: parsing, defaults, messages, suggestions and the table follow. Its
type in dicts.py does not; a test says what is missing there.

The room promises: the input is never changed, `task.list` is never drawn from (for a hint, the first item of a list or
tuple is looked at), nothing is started or printed, no function of the user is called, nothing but ConfigError is raised
for a bad config, and no value of `task.config` or of a task is in any message. It has no state and no threads.
"""
