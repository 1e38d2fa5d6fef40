"""outputs: a report written down, one module per form; each takes a `Digest` and gives text or writes one file.

    text      for a terminal                      json_lines   a report as one document; logs, a line each
    table     CSV, a row per task                 workbook     xlsx, with charts (extra [xlsx])
    page      HTML, one offline file              picture      PNG (extra [report])
    figures   the page's charts as plain data     page.css, page.js: the page's looks
    notebook  a piece of HTML without scripts     extras: packages that may not be there

Every text that came from a task goes through `wording.printable` and then through the form's own rule: HTML escapes,
no `</script>` in a script, no formula in a cell, no control character on a terminal.
"""

__all__: list[str] = []
