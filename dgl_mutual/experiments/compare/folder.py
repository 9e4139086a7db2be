"""The folder of a comparison: certificate.md, compare.csv, config.yaml, and trajectory.csv."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dgl_mutual.errors import StoreError
from dgl_mutual.experiments.compare.certificate import Section
from dgl_mutual.experiments.configuration.resolve import resolved_values
from dgl_mutual.experiments.plan import Plan
from dgl_mutual.experiments.run_folders.folder_lock import lock
from dgl_mutual.store.configuration import identity, num_seeds, read_resolved
from dgl_mutual.store.files import CERTIFICATE_FILE, COMPARE_FILE, COMPARISON_FILES, CONFIG_FILE, TRAJECTORY_FILE
from dgl_mutual.utils.files import read_bytes, write_text
from dgl_mutual.utils.plain_yaml import MAX_SIZE, yaml_text
from dgl_mutual.utils.safe_text import csv_text, markdown_text

_CSV_COLUMNS = [
    *("dataset", "kind", "member", "quantity", "precision", "seed", "fold", "ours", "reference", "difference", "bound", "holds"),
    *("n", "low", "high", "p_difference", "p_equivalence", "margin", "equivalent"),
]


@dataclass(frozen=True)
class CertificateReport:
    """The outcome of a comparison.

    Attributes:
        holds: whether parity holds; True if it was not checked.
        text: summary for the screen.
    """

    folder: Path
    holds: bool
    text: str


@dataclass(frozen=True, eq=False)
class ComparisonFolder:
    """The folder of one comparison.

    Attributes:
        title: title of the certificate.
        settings: settings of the comparison beside the configuration.
    """

    folder: Path
    title: str
    settings: str
    plan: Plan

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for the duration of a block.

        Raises:
            StoreError: another process works in the folder, or it holds another comparison or other files with the same names.
        """
        with lock(self.folder, linked=True):
            existing = [name for name in COMPARISON_FILES if os.path.lexists(self.folder / name)]
            if existing and not self._is_same():
                raise StoreError(
                    f"{str(self.folder)!r} holds another comparison, one of an earlier version, a run, or files of your own "
                    f"({', '.join(existing)}), which this one would overwrite. Choose another folder with --out, or move the old one away."
                )
            yield

    def write(
        self,
        sections: Sequence[Section],
        rows: Sequence[Mapping[str, object]],
        *,
        holds: bool = True,
        trajectory: pd.DataFrame | None = None,
    ) -> CertificateReport:
        """Write the results of the comparison, the certificate last.

        Args:
            sections: sections of the certificate.
            rows: rows of compare.csv.
            holds: see `CertificateReport`.
            trajectory: table for trajectory.csv.
        """
        write_text(self.folder / CONFIG_FILE, f"{self._marker}\n{yaml_text(self.plan.file_values)}")
        if trajectory is not None:
            write_text(self.folder / TRAJECTORY_FILE, csv_text(trajectory))
        table = pd.DataFrame(rows).assign(dataset=self.plan.dataset.name).reindex(columns=_CSV_COLUMNS)
        write_text(self.folder / COMPARE_FILE, csv_text(table.astype({"seed": "Int64", "fold": "Int64", "n": "Int64"})))
        write_text(self.folder / CERTIFICATE_FILE, "\n\n".join([f"# {self.title}", *(section.markdown for section in sections)]) + "\n")
        shown = [section.text for section in sections if section.on_screen]
        return CertificateReport(self.folder, holds, "\n\n".join(shown))

    @property
    def _marker(self) -> str:
        """The first line of config.yaml, by which a comparison is recognised."""
        return f"# {self.title}: {markdown_text(self.settings)}"

    def _is_same(self) -> bool:
        """Whether the same comparison wrote config.yaml, the first of its files."""
        file = self.folder / CONFIG_FILE
        try:
            marker, _, _ = read_bytes(file, MAX_SIZE).decode().partition("\n")
        except (OSError, UnicodeDecodeError):
            return False
        before, now = read_resolved(file), resolved_values(self.plan.config)
        # A certificate is of all seeds, so another number of seeds is another comparison.
        same_config = before is not None and identity(before) == identity(now) and num_seeds(before) == num_seeds(now)
        return same_config and marker == self._marker
