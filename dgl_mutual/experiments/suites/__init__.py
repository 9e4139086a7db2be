"""Suites: methods on datasets. The files of those of this package lie here."""
