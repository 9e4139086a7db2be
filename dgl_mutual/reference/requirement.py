"""torch_geometric is an extra: asked for only when the reference is."""

from __future__ import annotations

from dgl_mutual.errors import DglMutualError

#: Layers of earlier versions name their weights otherwise.
SUPPORTED = ">=2.5,<3"
INSTALL = "pip install 'dgl-mutual[reference]'"


class MissingReference(DglMutualError):
    """torch_geometric is not there, or not in a version that the reference is written for."""


def require_torch_geometric() -> str:
    """Version of torch_geometric.

    Raises:
        MissingReference: it is missing, broken, or of a version that is not supported; the message has the line that installs it.
    """
    from packaging.specifiers import SpecifierSet

    try:
        import torch_geometric
    except ModuleNotFoundError as error:
        what = "is not installed" if (error.name or "").startswith("torch_geometric") else f"cannot be imported ({error})"
        raise MissingReference(f"The reference needs torch_geometric ({SUPPORTED}), which {what}. Install it: {INSTALL}") from None
    except Exception as error:  # built for another torch, it may end in anything
        raise MissingReference(
            f"torch_geometric cannot be imported ({type(error).__name__}: {error}). Install it again: {INSTALL}"
        ) from None
    version = str(torch_geometric.__version__)
    if not SpecifierSet(SUPPORTED).contains(version, prereleases=True):
        raise MissingReference(
            f"torch_geometric {version} is installed, and the reference is written for {SUPPORTED}. Install it: {INSTALL}"
        )
    return version
