"""Encrypted connections."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from asynccache import CachePipeline
from asynccache._errors import BackendUnavailable
from asynccache.testing._redis_ports import free_port
from asynccache.testing.entries import same
from asynccache.testing.redis_servers import RedisServer
from tests.redis._load import echo
from tests.redis._watched import entry, in_time, no_task_is_left, opened

pytestmark = pytest.mark.anyio


class Secured:
    """A server with TLS, and the files around it."""

    def __init__(self, server: RedisServer, port: int, folder: Path) -> None:
        self.server = server
        self.port = port
        self.folder = folder

    def url(self, **options: str) -> str:
        """Where it is."""
        query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
        return f"rediss://127.0.0.1:{self.port}?{query}"

    def file(self, name: str) -> str:
        """The path of one of them."""
        return str(self.folder / name)


def _certify(folder: Path, name: str) -> None:
    """Make an authority, and a certificate of it for this machine."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=30)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        "req",
        "-x509",
        *new_key,
        "-keyout",
        f"{name}-ca.key",
        "-out",
        f"{name}-ca.crt",
        "-days",
        "2",
        "-subj",
        f"/CN={name} authority",
    )
    openssl(
        "req",
        "-new",
        *new_key,
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.csr",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    )
    openssl(
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        "-CA",
        f"{name}-ca.crt",
        "-CAkey",
        f"{name}-ca.key",
        "-CAcreateserial",
        "-out",
        f"{name}.crt",
        "-days",
        "2",
        "-copy_extensions",
        "copy",
    )


def _start(folder: Path, *config: str) -> Iterator[Secured]:
    port = free_port()
    lines = (
        f"tls-port {port}",
        f"tls-cert-file {folder}/right.crt",
        f"tls-key-file {folder}/right.key",
        f"tls-ca-cert-file {folder}/right-ca.crt",
        *config,
    )
    server = RedisServer(folder, config=lines)
    try:
        server.start()
    except RuntimeError as error:
        if "tls-port" in str(error):
            pytest.skip("this redis-server was built without TLS")
        raise
    try:
        yield Secured(server, port, folder)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made with openssl, which is not installed")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("right", "other"):
        _certify(folder, name)
    return folder


@pytest.fixture(scope="module")
def secured(certificates: Path) -> Iterator[Secured]:
    """A server that asks clients for nothing."""
    yield from _start(certificates, "tls-auth-clients no")


@pytest.fixture(scope="module")
def mutual(certificates: Path) -> Iterator[Secured]:
    """A server that asks clients for a certificate."""
    yield from _start(certificates, "tls-auth-clients yes")


async def works(url: str, prefix: str) -> None:
    async with opened(url, prefix=prefix, op_timeout=5.0) as store:
        kept = entry()
        await store.put(kept)
        assert same(await store.get(kept.key), kept)


async def refused(url: str) -> str:
    """What a look-up says; in time."""
    async with opened(url) as store:
        error = await in_time(store.get(entry().key), 0.1)
        await asyncio.sleep(0.05)
        while isinstance(error, BackendUnavailable) and "within" in str(error):
            error = await in_time(store.get(entry().key), 0.1)
        assert isinstance(error, BackendUnavailable)
        return str(error)


async def test_entries_go_over_tls(secured: Secured, own_prefix: str) -> None:
    await works(secured.url(ca=secured.file("right-ca.crt")), own_prefix)
    await works(secured.url(verify="0"), own_prefix)


async def test_an_authority_that_is_not_trusted_is_named_as_the_reason(secured: Secured) -> None:
    for options in ({"ca": secured.file("other-ca.crt")}, {}):
        assert "certificate verify failed" in (await refused(secured.url(**options))).lower()


async def test_tls_to_a_server_without_it_and_the_reverse_are_errors(
    secured: Secured, redis_server: RedisServer
) -> None:
    print(await refused(f"rediss://127.0.0.1:{redis_server.port}?verify=0"))  # noqa: T201
    print(await refused(f"redis://127.0.0.1:{secured.port}"))  # noqa: T201


async def test_a_certificate_of_ones_own_is_shown(mutual: Secured, own_prefix: str) -> None:
    authority = mutual.file("right-ca.crt")
    shown = {"cert": mutual.file("right.crt"), "key": mutual.file("right.key")}
    await works(mutual.url(ca=authority, **shown), own_prefix)
    await refused(mutual.url(ca=authority))


async def test_a_pipeline_over_tls_notices_changes_of_another(secured: Secured, own_prefix: str) -> None:
    url = secured.url(ca=secured.file("right-ca.crt"), prefix=own_prefix)
    before = asyncio.all_tasks()
    async with (
        CachePipeline(echo, backend=url, decision=None) as one,
        CachePipeline(echo, backend=url, decision=None) as other,
    ):
        await one.ask("a question")
        await one.flush()
        assert (await other.ask("a question")).hit
    await no_task_is_left(before)


async def test_certificates_are_read_once_and_not_on_the_loop(
    secured: Secured, own_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a tenth of a second where a machine knows many authorities."""
    readers: list[threading.Thread] = []
    plain = ssl.create_default_context

    def watched(*args: Any, **options: Any) -> ssl.SSLContext:
        readers.append(threading.current_thread())
        return plain(*args, **options)

    monkeypatch.setattr(ssl, "create_default_context", watched)
    url = secured.url(ca=secured.file("right-ca.crt"))
    async with opened(url, prefix=own_prefix, write_behind=False, op_timeout=5.0) as store:
        for lane in store.node.lanes:
            lane.drop()
        await store.put(entry())
        assert await store.get(entry().key) is not None
        assert len(readers) == 1
        assert threading.current_thread() not in readers


async def test_sentinels_are_asked_over_tls_too(certificates: Path, own_prefix: str) -> None:
    with ExitStack() as stack:
        quiet = ("tls-auth-clients no", "tls-replication yes")
        master = stack.enter_context(contextmanager(_start)(certificates, *quiet))
        watch = f"sentinel monitor mymaster 127.0.0.1 {master.port} 1"
        port = free_port()
        lines = (
            f"tls-port {port}",
            f"tls-cert-file {certificates}/right.crt",
            f"tls-key-file {certificates}/right.key",
            f"tls-ca-cert-file {certificates}/right-ca.crt",
            *quiet,
            watch,
        )
        stack.enter_context(RedisServer(certificates, config=lines, arguments=("--sentinel",)))
        url = f"rediss+sentinel://127.0.0.1:{port}/mymaster?ca={certificates}/right-ca.crt"
        await works(url, own_prefix)
        error = await refused(url.replace("right-ca", "other-ca"))
        assert "certificate verify failed" in error.lower()
