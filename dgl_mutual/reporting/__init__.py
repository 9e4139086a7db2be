"""Tables, tests and plots from folders of results, without torch or DGL. Each module imports only from modules listed before it:

run, labels, runs   reading the folder of a run; names of methods in tables; finding runs
comparison, baseline    means and significance tests; the method that others are compared with
tables, formats     a comparison as text cells; as CSV, Markdown or LaTeX
by_target, status, suite_tables     tables of single targets, of completion, and in the folder of a suite
plot_names, plots   plots by name
export, report, pages   tables of folders as text; a page of HTML; tables in Markdown pages
experiment      all of it for Python and notebooks
"""
