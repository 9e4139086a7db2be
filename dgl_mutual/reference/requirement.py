"""torch_geometric is an optional dependency, which only the reference requires."""

from __future__ import annotations

from dgl_mutual.errors import DglMutualError

#: Layers of earlier versions have other names for their weights.
SUPPORTED = ">=2.5,<3"
INSTALL = "pip install 'dgl-mutual[reference]'"


class MissingReference(DglMutualError):
    """torch_geometric is missing, or its version is not supported."""


def require_torch_geometric() -> str:
    """Return the version of torch_geometric.

    Raises:
        MissingReference: it is missing, broken, or of an unsupported version; the message has the command that installs it.
    """
    from packaging.specifiers import SpecifierSet

    try:
        import torch_geometric
    except ModuleNotFoundError as error:
        fault = "is not installed" if (error.name or "").startswith("torch_geometric") else f"cannot be imported ({error})"
        raise MissingReference(f"The reference needs torch_geometric ({SUPPORTED}), which {fault}. Install it: {INSTALL}") from None
    except Exception as error:  # a build for another torch may raise any error
        raise MissingReference(
            f"torch_geometric cannot be imported ({type(error).__name__}: {error}). Install it again: {INSTALL}"
        ) from None
    version = str(torch_geometric.__version__)
    if not SpecifierSet(SUPPORTED).contains(version, prereleases=True):
        raise MissingReference(
            f"torch_geometric {version} is installed, and the reference is written for {SUPPORTED}. Install it: {INSTALL}"
        )
    return version
