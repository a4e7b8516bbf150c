"""The Alpine guest: from published archives to kernel and initramfs, against a server of our own."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from alpine_site import Site, module, netboot_initramfs, pack, path_of, recipe, serve
from cpio_archive import unpack

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.errors import GuestbenchError, HostError, ImageError, UsageError
from guestbench.model import Guest, Role
from guestbench.provision import cache, cpio, tarball
from guestbench.provision.recipes.alpine_initramfs import put_on_top
from guestbench.run.prepare import prepare as prepare_run
from guestbench.run.request import Request

MODULES = {
    "virtio_net": module("net_failover"),
    "net_failover": module("failover"),
    "failover": module(""),
    "af-packet": module(""),
    "unwanted": module(""),
}
ROOT = {
    "./": b"",
    "./bin/": b"",
    "./bin/busybox": b"\x7fELF busybox",
    "./etc/": b"",
    "./etc/shadow": b"root:*::0:::::\nnobody:!::0:::::\n",
    "./etc/modules": b"af_packet\n",
    "./sbin/": b"",
    "./tmp/": b"",
}
LINKS = {"./sbin/init": "/bin/busybox", "./bin/sh": "busybox"}
KERNEL = b"the kernel"


def netboot(initramfs: bytes) -> bytes:
    """A netboot archive."""
    return pack(
        {"boot/modloop-virt": b"x" * 5000, "boot/initramfs-virt": initramfs, "boot/vmlinuz-virt": KERNEL}
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with both archives, in the place of Alpine's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serve() as here:
        monkeypatch.setenv("GUESTBENCH_MIRROR", f"{here.url}/")
        here.publish(path_of(recipe().root.url), pack(ROOT, LINKS))
        here.publish(path_of(recipe().kernel.url), netboot(netboot_initramfs(MODULES)))
        yield here


def build() -> Guest:
    """Build as `guestbench systems build alpine` does."""
    catalogue = load_catalogue()
    return provision.build(catalogue["alpine"], catalogue, lambda _: None)


def images() -> list[Path]:
    """Everything of the guest that the cache shows to others: images, and workspaces that were left."""
    folder = cache.cache_folder()
    return [*(folder / "images").glob("alpine-*"), *(folder / "work").glob("alpine-*")]


def contents(guest: Guest) -> dict[str, tuple[int, bytes]]:
    """What is in the guest's initramfs."""
    return unpack(gzip.decompress(Path(guest.images[Role.INITRD].path).read_bytes()))


def test_guest_is_the_official_kernel_and_root_with_our_files_on_top(site: Site) -> None:
    """The guest would not be Alpine, would have no network driver, or nobody could log in."""
    guest = build()
    assert Path(guest.images[Role.KERNEL].path).read_bytes() == KERNEL
    files = contents(guest)
    assert files["bin/busybox"] == (stat.S_IFREG | 0o755, ROOT["./bin/busybox"])
    assert files["sbin/init"][1] == b"/bin/busybox"
    assert files["init"][1] == b"/sbin/init"
    assert files["etc/modules"][1] == b"af_packet\n"
    assert files["etc/shadow"] == (stat.S_IFREG | 0o755, b"root:::0:::::\n"), "a replaced file keeps its mode"
    assert files["etc/rc"][0] & 0o111
    assert stat.S_ISCHR(files["dev/console"][0])
    order = files["etc/modules-in-order"][1].decode().split()
    assert [Path(each).stem for each in order] == ["failover", "net_failover", "virtio_net", "af_packet"]
    assert files[order[2].lstrip("/")][1] == MODULES["virtio_net"], "unpacked: insmod takes no other"
    assert not [name for name in files if "unwanted" in name]


def test_guest_says_where_it_came_from_and_how_it_differs(site: Site) -> None:
    """The report would not say that root's password was removed, or would name the user's own mirror."""
    origin = build().origin
    assert origin.kind == "built"
    for source in (recipe().kernel, recipe().root):
        assert source.url in origin.detail
    assert "from a mirror" in origin.detail
    assert "127.0.0.1" not in origin.detail
    assert any("password" in each for each in origin.differences)


def test_guest_is_the_same_when_built_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two users would measure different images."""
    first = build()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert {r: i.sha256 for r, i in build().images.items()} == {r: i.sha256 for r, i in first.images.items()}


def test_archives_are_not_downloaded_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file of ours would cost another 300 MB."""
    build()
    monkeypatch.setattr(cache, "BUILDER_VERSION", 99)
    build()
    assert [path for path, _ in site.asked].count(path_of(recipe().kernel.url)) == 1


def test_broken_off_archive_is_gone_on_with(site: Site) -> None:
    """A bad line would make the download begin at the start each time."""
    path = path_of(recipe().kernel.url)
    site.cut[path] = 300
    with pytest.raises(HostError, match="broke off after 300 of") as caught:
        build()
    assert caught.value.hint == "guestbench systems build alpine"
    assert images() == []
    site.cut.clear()
    build()
    assert site.asked[-1] == (path, "bytes=300-")


def test_archive_that_is_not_the_published_one_is_thrown_away(site: Site) -> None:
    """A tampered archive would be measured as Alpine, now or at the next try."""
    path = path_of(recipe().root.url)
    good = site.files[path]
    site.files[path] = good[:-1] + b"?"
    with pytest.raises(ImageError, match="not what its publisher's list says"):
        build()
    assert images() == []
    assert list((cache.cache_folder() / "downloads").iterdir()) == []
    site.files[path] = good
    build()


def test_archive_that_is_gone_says_the_status(site: Site) -> None:
    """A moved release would look like a fault of the tool."""
    del site.files[path_of(recipe().kernel.url)]
    with pytest.raises(HostError, match=r"alpine-netboot.*HTTP status 404") as caught:
        build()
    assert caught.value.hint == "unset GUESTBENCH_MIRROR"
    assert images() == []


def test_kernel_module_that_is_missing_is_named(site: Site) -> None:
    """A guest would be built that has no network."""
    there = {name: data for name, data in MODULES.items() if name != "failover"}
    site.publish(path_of(recipe().kernel.url), netboot(netboot_initramfs(there)))
    with pytest.raises(ImageError, match=r"alpine-netboot-.*has no kernel module failover"):
        build()
    assert images() == []


@pytest.mark.parametrize(
    ("which", "archive", "said"),
    [
        ("root", b"not a gzip", "not a gzip archive"),
        ("root", pack(ROOT, LINKS)[:-40], "is truncated"),
        ("root", gzip.compress(b"\0" * 2048, mtime=0), "holds no /sbin/init"),
        ("root", gzip.compress(gzip.decompress(pack(ROOT, LINKS)).rstrip(b"\0"), mtime=0), "damaged"),
        ("root", pack({**ROOT, "../../etc/cron.d/x": b"*"}, LINKS), "leads out of it"),
        ("root", pack({**ROOT, "/etc/cron.d/x": b"*"}, LINKS), "leads out of it"),
        ("root", pack({**ROOT, "./lib/x": b"*"}, {**LINKS, "./lib": "/usr"}), "lies behind a link"),
        ("kernel", pack({"boot/vmlinuz-lts": b"x"}), "holds no boot/vmlinuz-virt, no boot/initramfs-virt"),
        ("kernel", netboot(b"no ramdisk"), "is not an initial ramdisk"),
        ("kernel", netboot(netboot_initramfs(MODULES)[:-30]), "truncated"),
        ("kernel", pack({}, {"boot/vmlinuz-virt": "/etc/passwd"}), "not a regular file"),
    ],
)
def test_archive_of_no_use_is_named_and_leaves_nothing(
    site: Site, which: str, archive: bytes, said: str
) -> None:
    """A hostile or damaged archive would write elsewhere, or leave half a guest that is taken for one."""
    url = (recipe().root if which == "root" else recipe().kernel).url
    site.publish(path_of(url), archive)
    with pytest.raises(ImageError, match=said) as caught:
        build()
    assert url.rsplit("/", 1)[-1] in caught.value.message
    assert images() == []


def test_archive_larger_than_its_limit_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive that unpacks to gigabytes would fill the user's memory or disk."""
    archive = pack({**ROOT, "./large": bytes(3 << 20)}, LINKS)
    site.publish(path_of(recipe().root.url), archive)
    for limit in ("MAX_ROOT_BYTES", "MAX_UNPACKED_BYTES"):
        with monkeypatch.context() as patch, pytest.raises(ImageError, match="unpack to more than 2 MiB"):
            patch.setattr(tarball, limit, 2 << 20)
            build()


def test_extended_header_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """A header of a hostile archive would fill the user's memory."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 31
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(header.tobuf() + bytes(10_000)))
    with pytest.raises(ImageError, match="claims 2147483648 bytes"):
        tarball.read_entries(file)


def test_owners_hard_links_and_devices_of_an_archive(tmp_path: Path) -> None:
    """Set-group-ID programs would change their group, hard links be empty, device nodes be there twice."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        one = tarfile.TarInfo("bin/one")
        one.size, one.mode, one.gid = 3, 0o2755, 42
        tar.addfile(one, io.BytesIO(b"ELF"))
        two = tarfile.TarInfo("bin/two")
        two.type, two.linkname = tarfile.LNKTYPE, "bin/one"
        tar.addfile(two)
        node = tarfile.TarInfo("dev/sda")
        node.type, node.devmajor = tarfile.BLKTYPE, 8
        tar.addfile(node)
    file = tmp_path / "a.tar.gz"
    file.write_bytes(out.getvalue())
    entries = tarball.read_entries(file)
    assert entries == dict.fromkeys(
        ("bin/one", "bin/two"), cpio.Entry(mode=stat.S_IFREG | 0o2755, data=b"ELF", gid=42)
    )


def test_files_follow_links_of_the_root_to_where_the_guest_will_find_them() -> None:
    """Modules would be lost in a root whose /lib is a link to /usr/lib."""
    there = {"usr/lib": cpio.directory(), "lib": cpio.symbolic_link("usr/lib"), "a": cpio.symbolic_link("/a")}
    added = put_on_top(there, {"lib/modules/x.ko": cpio.regular_file(b"x"), "a": cpio.regular_file(b"")})
    assert "usr/lib/modules/x.ko" in added
    assert "lib/modules/x.ko" not in added


def test_mirror_that_is_no_address_is_one_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped mirror would be taken for a server that is down, and the guest be left out unseen."""
    for mirror in ("ftp://mirror/", "mirror.example.org", "http://", "http://[x", "https://a b/"):
        monkeypatch.setenv("GUESTBENCH_MIRROR", mirror)
        with pytest.raises(UsageError, match="GUESTBENCH_MIRROR is") as caught:
            build()
        assert caught.value.hint == "unset GUESTBENCH_MIRROR"
        assert not isinstance(caught.value, ImageError)


def experiment(folder: Path, systems: str, optional: str) -> str:
    """An experiment file."""
    file = folder / "two.toml"
    file.write_text(
        f'name = "two"\ntitle = "Two"\nsystems = {systems}\noptional = {optional}\nmetrics = ["image"]\n'
        'cycles = 1\nwarmups = 0\n[platform]\nvmm = "qemu"\naccel = "tcg"\n'
    )
    return str(file)


def test_run_without_access_to_alpine_leaves_it_out(site: Site, tmp_path: Path) -> None:
    """A default run on a machine without access to Alpine's servers would fail."""
    site.files.clear()
    said: list[str] = []
    header = prepare_run(Request(experiment(tmp_path, '["floor"]', '["alpine"]')), said.append)
    assert [guest.system.name for guest in header.guests] == ["floor"]
    (absent,) = header.absent
    assert (absent.system, "HTTP status 404" in absent.reason) == ("alpine", True)
    assert any(line.startswith("leaving out alpine: ") for line in said)


def test_run_that_needs_alpine_fails_without_it(site: Site, tmp_path: Path) -> None:
    """A guest that was asked for by name would be missing from the results."""
    site.files.clear()
    with pytest.raises(GuestbenchError, match="HTTP status 404"):
        prepare_run(Request(experiment(tmp_path, '["floor", "alpine"]', "[]")), lambda _: None)
