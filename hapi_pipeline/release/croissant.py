"""croissant.json: the release in Croissant 1.0, so that machines find, load and check every table.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html. Files are named relative to croissant.json.
"""

from __future__ import annotations

from typing import Any

from hapi_pipeline.release.citation import bibtex
from hapi_pipeline.release.facts import Facts, TableFiles
from hapi_pipeline.tables import Column

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {
    "text": "sc:Text",
    "json": "sc:Text",
    "texts": "sc:Text",
    "int": "sc:Integer",
    "float": "sc:Float",
    "bool": "sc:Boolean",
    "timestamp": "sc:DateTime",
}


def croissant(facts: Facts, description: str) -> dict[str, Any]:
    """The metadata of a release."""
    told: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": facts.title,
        "description": description,
        "version": facts.version,
        "datePublished": facts.day,
        "license": f"https://spdx.org/licenses/{facts.licence}.html",
        "creator": [{"@type": "sc:Organization", "name": name} for name in facts.authors],
        "citeAs": bibtex(facts),
        "keywords": ["benchmark", "agents", "human feedback"] + ["simulated"] * facts.simulated,
        "isLiveDataset": False,
        # required: it must be an address; where none is stated, the specification that the file follows is one
        "url": facts.publish.url or CONFORMS_TO,
        "distribution": [_file(one) for one in facts.tables.values()],
        "recordSet": [_record_set(name, one) for name, one in facts.tables.items()],
    }
    return told


def _file(one: TableFiles) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": one.parquet,
        "name": one.parquet.rpartition("/")[2],
        "description": one.table.meaning,
        "contentUrl": one.parquet,
        "contentSize": f"{one.bytes[one.parquet]} B",
        "encodingFormat": "application/x-parquet",
        "sha256": one.sha256[one.parquet],
    }


def _record_set(name: str, one: TableFiles) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{one.table.meaning} One row per {one.table.grain}.",
        "key": [{"@id": f"{name}/{column}"} for column in one.table.key],
        "field": [_field(name, one, column) for column in one.table.columns],
    }


def _field(name: str, one: TableFiles, column: Column) -> dict[str, Any]:
    unit = f" Unit: {column.field.unit}." if column.field.unit else ""
    told: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{name}/{column.name}",
        "name": column.name,
        "description": f"{column.meaning.removesuffix('.')}.{unit}",
        "dataType": _TYPES[column.field.type],
        "source": {"fileObject": {"@id": one.parquet}, "extract": {"column": column.name}},
    }
    return told | ({"repeated": True} if column.field.type == "texts" else {})
