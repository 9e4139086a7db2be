"""The meta.yaml of a folder in the form of DGL's `CSVDataset`, which names files and columns."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from dgl_mutual.data.files.csv_table import is_unnamed
from dgl_mutual.data.files.untrusted_files import read_text, recording
from dgl_mutual.data.values.faults import Faults
from dgl_mutual.data.values.names import check_name
from dgl_mutual.data.values.split import MASKS
from dgl_mutual.errors import DataError, unknown
from dgl_mutual.options import plain_message
from dgl_mutual.utils.plain_yaml import read_yaml

_MAX_SIZE = 1 << 20


def _inside(name: str) -> str:
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("expected a file within the dataset's folder")
    return name


def _named(name: str) -> str:
    try:
        check_name(name)
    except DataError as error:
        raise ValueError(str(error)) from None
    return name


_FileName = Annotated[str, AfterValidator(_inside)]


class _Keys(BaseModel):
    """A mapping without unknown keys."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(str(unknown("key", key, cls.model_fields)))
        return values


class GraphMeta(_Keys):
    """A file and its identifier columns."""

    file_name: _FileName
    graph_id_field: str = "graph_id"

    @property
    def named_graph_id(self) -> list[str]:
        """The column of graphs if it is named in meta.yaml, which makes it required."""
        return [self.graph_id_field] if "graph_id_field" in self.model_fields_set else []

    @model_validator(mode="after")
    def _check_fields(self) -> GraphMeta:
        seen: dict[str, str] = {}
        for field, column in self:
            if not field.endswith("_id_field"):
                continue
            if is_unnamed(column):
                raise ValueError(f"{field} = {column!r} is a column without a name. Name it in the header of {self.file_name}, and here")
            if column in ("label", "feat", *MASKS):
                raise ValueError(f"{field} = {column!r} names a column that holds no identifiers. Name a column of identifiers")
            if column in seen:
                raise ValueError(f"{seen[column]} and {field} are both {column!r}. Name a column of its own for each")
            seen[column] = field
        return self


class NodeMeta(GraphMeta):
    ntype: Any = None
    node_id_field: str = "node_id"


class EdgeMeta(GraphMeta):
    etype: Any = None
    src_id_field: str = "src_id"
    dst_id_field: str = "dst_id"


class Meta(_Keys):
    version: str = "1.0.0"
    dataset_name: Annotated[str, AfterValidator(_named)]
    metric: str | None = None
    separator: str = Field(",", min_length=1, max_length=1)
    node_data: list[NodeMeta]
    edge_data: list[EdgeMeta]
    graph_data: GraphMeta | None = None


def read_meta(path: Path, faults: Faults) -> Meta | None:
    """Read a meta.yaml, or record why not and return None."""
    meta = None
    with recording(path, faults, "expected YAML"):
        try:
            meta = Meta.model_validate(read_yaml(read_text(path, _MAX_SIZE)))
        except ValidationError as error:
            for fault in error.errors():
                faults.add(path, f"{'.'.join(map(str, fault['loc'])) or 'content'}: {plain_message(fault)}")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            faults.add(path, f"expected YAML ({getattr(error, 'problem', error)})", mark.line + 1 if mark else None)
    if meta is None:
        return None
    if meta.version != "1.0.0":
        faults.add(path, f"version: expected 1.0.0, the only version that DGL has defined, found {meta.version}")
    if len(meta.node_data) != 1 or len(meta.edge_data) != 1:
        found = f"{len(meta.node_data)} and {len(meta.edge_data)}"
        faults.add(path, f"expected one type of node and one of edge, found {found}: heterogeneous graphs are not supported")
    return meta
