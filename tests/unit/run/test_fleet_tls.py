"""A fleet that is encrypted: it is set up as docs/fleet.md says, and whoever has no certificate stays out."""

from __future__ import annotations

from pathlib import Path

import pytest
from documents import blocks
from fleets import cluster, make_sleeping, sleeping
from silent_progress import SilentProgress

from guestbench.errors import HostError
from guestbench.host import process
from guestbench.run.store import create_store
from guestbench.run.trials import make_trials

distributed = pytest.importorskip("distributed")
fleet = pytest.importorskip("guestbench.run.fleet")
import dask  # noqa: E402

ROOT = Path(__file__).parents[3]


def test_a_fleet_is_used_over_tls_and_not_without_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody on the network could run programs on every host, or read what is measured."""
    documented = blocks(ROOT / "docs" / "fleet.md", "sh")
    make = next(each for each in documented if "openssl req" in each)
    use = next(each for each in documented if "TLS__CA_FILE" in each)
    monkeypatch.chdir(tmp_path)
    process.run(["sh", "-ec", make])
    settings = dict(
        line.removeprefix("export ").split("=", 1)
        for line in use.splitlines()
        if line.startswith("export DASK_")
    )
    assert len(settings) == 8
    tls = {
        name.removeprefix("DASK_").lower().replace("__", "."): value.replace("$PWD", str(tmp_path))
        for name, value in settings.items()
    }
    with dask.config.set(tls):
        security = distributed.security.Security()
        with sleeping(tmp_path), cluster({"x": 1}, security=security) as found:
            assert found.address.startswith("tls://")
            header = make_sleeping(tmp_path, 0.0, cycles=1)
            with fleet.open_fleet(found.address, lambda _: None) as pool:
                header = pool.admit(header)
                with create_store(tmp_path / "run", header) as store:
                    records = make_trials(store, header, (), SilentProgress(), pool)
            assert len(records) == len(header.trials)
            monkeypatch.setattr(fleet, "CONNECT_S", 2.0)
            nothing = {
                f"distributed.comm.tls.{each}": None for each in ("ca-file", "client.cert", "client.key")
            }
            with (
                dask.config.set(nothing),
                pytest.raises(HostError, match="no scheduler answers at tls://"),
                fleet.open_fleet(found.address, lambda _: None),
            ):
                pass
            with (
                pytest.raises(HostError, match="no scheduler answers at tcp://"),
                fleet.open_fleet(found.address.replace("tls://", "tcp://"), lambda _: None),
            ):
                pass
