"""A program on a device: it asks the local agent's model about one picture after the other.

It speaks the Open Inference Protocol (v2) over HTTP like any program would:
``python -m edgepress_server.demo.feeder --data DATA --rate 5 URL ...``
"""

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import urllib3

from edgepress_compression.data import load_dataset

PICTURES = 64  # kept decoded: enough variety, little memory


def request_body(inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """The JSON body of an inference request (Open Inference Protocol v2, "Inference Request JSON Object")."""
    names = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "uint8": "UINT8"}
    return {
        "inputs": [
            {"name": n, "shape": list(a.shape), "datatype": names[a.dtype.name], "data": a.ravel().tolist()}
            for n, a in inputs.items()
        ]
    }


@click.command()
@click.argument("urls", nargs=-1, required=True)
@click.option("--data", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rate", default=5.0, show_default=True, help="Inferences per second and device.")
def feed(urls: tuple[str, ...], data: Path, rate: float) -> None:
    """Ask the models of the agents at URLS about the test split of DATA until stopped."""
    batches = load_dataset(data).split("test").batches(1, limit=PICTURES)
    bodies = [request_body(inputs) for inputs, _ in batches]
    http = urllib3.PoolManager(timeout=urllib3.Timeout(10), retries=False)
    names: dict[str, str] = {}
    begun = time.monotonic()
    for tick in itertools.count():
        for url in urls:
            try:
                if url not in names:
                    names[url] = http.request("GET", f"{url}/v2").json()["extensions_model"]
                body = bodies[tick % len(bodies)]
                answer = http.request("POST", f"{url}/v2/models/{names[url]}/infer", json=body)
                if answer.status >= 400:
                    names.pop(url)  # the agent runs another model now; ask again which
                    print(f"{url}: {answer.status} {answer.data[:200]!r}", file=sys.stderr, flush=True)
            except urllib3.exceptions.HTTPError as error:
                print(f"{url}: {error}", file=sys.stderr, flush=True)
        time.sleep(max(0.0, begun + (tick + 1) / rate - time.monotonic()))


if __name__ == "__main__":
    feed()
