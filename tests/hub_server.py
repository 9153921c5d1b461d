"""A stand-in for the hub of models: the part of its HTTP interface that an upload uses; repositories are folders."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from huggingface_hub.repocard import REGEX_YAML_BLOCK
from yaml import YAMLError, safe_load

TOKEN = "hf_of_a_test"
_LARGE = (".safetensors", ".onnx", ".so")


class Hub:
    """The repositories below a folder, as OWNER/NAME/...; ``private`` has the names of those that are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.endpoint = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """The status and content of a response."""
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                return self._validate(json.loads(body)["content"])
            case ["lfs", checksum] if method == "PUT":
                self.large[checksum] = body
                return 200, {}
            case [owner, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                return 200, {"objects": [self._upload_of(each) for each in json.loads(body)["objects"]]}
            case ["api", "models", owner, name, "preupload", "main"]:
                return 200, {"files": [self._mode_of(each) for each in json.loads(body)["files"]]}
            case ["api", "models", owner, name, "commit", "main"]:
                return self._commit(f"{owner}/{name}", [json.loads(line) for line in body.splitlines()])
            case ["api", "models", owner, name]:
                return self._info(f"{owner}/{name}")
        return 404, {"error": "not found"}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        name = f"{wanted['organization']}/{wanted['name']}"
        exists = (self.folder / name).is_dir()
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        if wanted.get("visibility") == "private" and not exists:
            self.private.add(name)
        return 409 if exists else 200, {"url": f"{self.endpoint}/{name}", "error": "it exists" if exists else None}

    def _validate(self, card: str) -> tuple[int, Any]:
        found = REGEX_YAML_BLOCK.search(card)
        try:
            valid = found is not None and isinstance(safe_load(found[2]), dict)
        except YAMLError:
            valid = False
        return (200, {}) if valid else (400, {"errors": [{"message": "the front matter is invalid"}]})

    def _upload_of(self, file: dict[str, Any]) -> dict[str, Any]:
        return {**file, "actions": {"upload": {"href": f"{self.endpoint}/lfs/{file['oid']}"}}}

    def _mode_of(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["path"].endswith(_LARGE) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header":
                continue
            path = self.folder / name / value["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if key == "deletedFile":
                path.unlink()
            else:
                path.write_bytes(base64.b64decode(value["content"]) if key == "file" else self.large[value["oid"]])
        return 200, {"commitUrl": f"{self.endpoint}/{name}/commit/{40 * '0'}", "commitOid": 40 * "0"}

    def _info(self, name: str) -> tuple[int, Any]:
        files = [path for path in (self.folder / name).rglob("*") if path.is_file()]
        names = [{"rfilename": path.relative_to(self.folder / name).as_posix()} for path in files]
        return 200, {"id": name, "private": name in self.private, "siblings": names}


@contextmanager
def hub_at(folder: Path) -> Iterator[Hub]:
    """A hub that serves on a free port of this machine until the block ends."""
    hub = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith("/lfs/") or self.headers.get("Authorization") == f"Bearer {TOKEN}":
                status, content = hub.answer(self.command, self.path.partition("?")[0], body)
            else:
                status, content = 401, {"error": "Invalid username or password."}
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = respond  # noqa: N815 -- names that http.server calls

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield hub
        server.shutdown()
