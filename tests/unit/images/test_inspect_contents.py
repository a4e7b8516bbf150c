"""What a root file system holds: packages, users, programs, units, kernel configuration, command line."""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.errors import ImageError
from guestbench.images.contents import files as contents
from guestbench.images.contents import linux as linux_kernel
from guestbench.images.contents.packages import find_packages
from guestbench.images.inspection import KernelConfig, Known, PasswordState
from guestbench.images.tree import MAX_PATH_BYTES, Entry, Tree

DPKG = b"""Package: bash
Status: install ok installed
Version: 5.2.15-2+b7
Architecture: amd64
Description: a shell
 Package: not-a-package
 .

Package: removed
Status: deinstall ok config-files
Version: 1
Architecture: amd64

Package: half
Status: install ok half-installed
Version: 1
Architecture: amd64

Package: libc6
Status: hold ok installed
Source: glibc (2.36-9)
Version: 1:2.36-9+deb12u10
Architecture: amd64

"""
APK = b"C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nF:lib\nZ:Q1P:\n\nP:busybox\nV:1.36\nA:x86_64\n\n"


def make_tree(files: Mapping[str, bytes], modes: Mapping[str, int] | None = None) -> Tree:
    """A tree of files, with folders as needed; contents that begin with `-> ` make a symbolic link."""
    data: dict[bytes, bytes] = {}
    entries = {b"": Entry(b"", 1, stat.S_IFDIR | 0o755, 0, 0, 0)}
    for number, (name, content) in enumerate(files.items(), 2):
        path = name.encode()
        parts = path.split(b"/")
        for length in range(1, len(parts)):
            folder = b"/".join(parts[:length])
            entries.setdefault(folder, Entry(folder, 1, stat.S_IFDIR | 0o755, 0, 0, 0))
        link = content[3:] if content.startswith(b"-> ") else b""
        mode = (stat.S_IFLNK if link else stat.S_IFREG) | (modes or {}).get(name, 0o644)
        entries[path] = Entry(path, number, mode, 0, 0, len(content), link=link)
        data[path] = content
    return Tree(entries.values(), lambda entry, limit: data[entry.path][:limit], has_attributes=True)


# --- packages -----------------------------------------------------------------------------------------


def test_only_installed_packages_of_dpkg_count() -> None:
    """Packages that were removed would be counted as attack surface."""
    found = find_packages(make_tree({"var/lib/dpkg/status": DPKG}))
    assert found.value is not None
    assert [(p.name, p.version, p.architecture, p.source) for p in found.value] == [
        ("bash", "5.2.15-2+b7", "amd64", ""),
        ("libc6", "1:2.36-9+deb12u10", "amd64", "glibc"),
    ]
    assert "/var/lib/dpkg/status" in found.source


def test_packages_of_apk_and_distroless_images_are_found() -> None:
    """An Alpine or distroless image would seem to have no packages."""
    for place in ("lib/apk/db/installed", "usr/lib/apk/db/installed"):
        found = find_packages(make_tree({place: APK}))
        assert [(p.kind, p.name, p.version) for p in found.value or ()] == [
            ("apk", "busybox", "1.36"),
            ("apk", "musl", "1.2.5-r0"),
        ]
    files = {
        "var/lib/dpkg/status": b"",
        "var/lib/dpkg/status.d/base": b"Package: base-files\nVersion: 12\nArchitecture: amd64\n",
        "var/lib/dpkg/status.d/base.md5sums": b"Package: wrong\n",
    }
    assert [p.name for p in find_packages(make_tree(files)).value or ()] == ["base-files"]


def test_packages_without_a_readable_database_are_unknown() -> None:
    """A system of another distribution would be reported as one with 0 packages."""
    assert find_packages(make_tree({"etc/passwd": b""})).unknown == "no package database of dpkg or apk"
    assert (
        "/var/lib/rpm cannot be read" in find_packages(make_tree({"var/lib/rpm/rpmdb.sqlite": b"x"})).unknown
    )


@given(st.binary(max_size=300))
def test_any_bytes_in_databases_are_read(data: bytes) -> None:
    """A damaged file in an image would end the inspection with a traceback, or reach the terminal raw."""
    files = {
        "var/lib/dpkg/status": b"Package: " + data,
        "lib/apk/db/installed": b"P:" + data,
        "etc/passwd": data + b"\nroot:x:0:0::/root:" + data,
        "etc/shadow": data,
        "etc/shells": b"/" + data,
        "etc/os-release": b"ID=" + data,
    }
    tree = make_tree(files)
    for package in find_packages(tree).value or ():
        assert (package.name + package.version + package.architecture).isprintable()
    for user in contents.find_users(tree).value or ():
        assert (user.name + user.shell).isprintable()
    distribution = contents.find_distribution(tree).value
    assert distribution is None or distribution.id.isprintable()
    contents.find_shells(tree)


def test_database_that_is_no_list_is_unknown_and_not_empty() -> None:
    """A system whose database was lost would be praised for its 0 packages."""
    status, apk = "var/lib/dpkg/status", "lib/apk/db/installed"
    for place, whole in ((status, DPKG), (apk, APK)):
        damaged = {
            "is empty": b"",
            "has a NUL byte at byte 0": bytes(4096),
            f"has a NUL byte at byte {len(whole)}": whole + bytes(100),
            "is compressed with gzip": gzip.compress(whole),
            "is compressed with xz": lzma.compress(whole),
            "is compressed with zstd": b"\x28\xb5\x2f\xfd" + whole,
            "lists no package": b"\n\n",
            "lists no package, installed": b"hello\nworld\n\n",
            "is cut: it ends in the middle of a line": whole[:-8],
        }
        for words, data in damaged.items():
            found = find_packages(make_tree({place: data}))
            assert found.value is None
            assert words in found.unknown
    removed = b"Package: x\nStatus: deinstall ok config-files\n\n"
    assert find_packages(make_tree({status: removed})).value == ()


def test_list_of_packages_that_may_be_cut_at_a_line_says_so() -> None:
    """The packages of the first part of a list would be taken for all."""
    for data in (DPKG[:-1], APK[:-1]):
        place = "var/lib/dpkg/status" if data[:1] == b"P" else "lib/apk/db/installed"
        found = find_packages(make_tree({place: data}))
        assert found.value is not None
        assert len(found.value) == 2
        assert "perhaps incomplete" in found.source
    assert "incomplete" not in find_packages(make_tree({"var/lib/dpkg/status": DPKG})).source


def test_second_database_that_cannot_be_read_is_told() -> None:
    """The packages of one package manager would be taken for all."""
    rpm = {"usr/lib/sysimage/rpm/rpmdb.sqlite": b"x"}
    found = find_packages(make_tree({"var/lib/dpkg/status": DPKG} | rpm))
    assert "incomplete: the database in /usr/lib/sysimage/rpm cannot be read" in found.source
    found = find_packages(make_tree({"var/lib/dpkg/status": b""} | rpm))
    assert "/usr/lib/sysimage/rpm cannot be read" in found.unknown


def test_long_list_of_packages_is_read_to_its_end() -> None:
    """Packages behind the first 16 MiB of a list would not be counted."""
    long = b"".join(
        b"Package: p%d\nStatus: install ok installed\nVersion: 1\nDescription: %s\n\n" % (n, b"x" * 9000)
        for n in range(2000)
    )
    assert len(long) > 16 << 20
    found = find_packages(make_tree({"var/lib/dpkg/status": long})).value
    assert found is not None
    assert len(found) == 2000


def test_files_that_are_too_long_are_refused_with_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part of a long file would be taken for all of it."""
    monkeypatch.setattr(contents, "MAX_TEXT_BYTES", 100)
    for path, find in (
        ("etc/passwd", contents.find_users),
        ("etc/shells", contents.find_shells),
        ("etc/os-release", contents.find_distribution),
        ("etc/fstab", contents.read_fstab),
    ):
        tree = make_tree({path: b"/bin/sh:x:0:0:::\n" * 10})
        with pytest.raises(ImageError, match=f"/{path} has 170 bytes; at most 100 of it are read"):
            find(tree)
    short = Tree(make_tree({"etc/passwd": b"x" * 50}), lambda _, __: b"x" * 20, has_attributes=True)
    with pytest.raises(ImageError, match="/etc/passwd is cut: 20 of its 50 bytes are there"):
        contents.find_users(short)


def test_lost_files_of_users_and_distribution_are_unknown() -> None:
    """A system whose user list was lost would be shown as one without users."""
    for data in (b"", bytes(512), b"\n\n", b"root\n", gzip.compress(b"root:x:0:0::/root:/bin/sh\n")):
        assert contents.find_users(make_tree({"etc/passwd": data})).unknown == "/etc/passwd lists no user"
        found = contents.find_distribution(make_tree({"etc/os-release": data}))
        assert found.unknown == "/etc/os-release names no distribution"


def test_more_mounts_than_are_shown_are_counted() -> None:
    """Of many other file systems that are not looked at, some would be left out without a word."""
    lines = b"".join(b"/dev/x /data/%02d ext4 defaults 0 0\n" % number for number in range(23))
    points = [row.point for row in contents.read_fstab(make_tree({"etc/fstab": lines}))]
    assert contents.name_points(points) == ", ".join([*points[:20], "and 3 more"])


# --- users --------------------------------------------------------------------------------------------


def test_password_states() -> None:
    """A user who needs no password would pass for a locked one, or a hash would be printed."""
    passwd = (
        b"root:x:0:0:root:/root:/bin/bash\nset:x:1:1::/:\nstar:x:2:2::/:/usr/sbin/nologin\n"
        b"off:x:3:3::/:/bin/sh\nold::4:4::/:/bin/sh\ngone:x:5:5::/:/bin/sh\n#comment\nbad:x:notanumber:0::/:/x\n"
        b"des:abcdefghijklm:6:6::/:/bin/sh\nnis:*:7:7::/:/bin/sh\n"
    )
    shadow = (
        b"root::19000:0:99999:7:::\nset:$y$j9T$secret$hash:1::::::\nstar:*:1::::::\noff:!$6$secret:1::::::\n"
    )
    found = contents.find_users(make_tree({"etc/passwd": passwd, "etc/shadow": shadow}))
    assert found.value is not None
    assert {user.name: user.password for user in found.value} == {
        "root": PasswordState.EMPTY,
        "set": PasswordState.SET,
        "star": PasswordState.LOCKED,
        "off": PasswordState.LOCKED,
        "old": PasswordState.EMPTY,
        "gone": PasswordState.UNKNOWN,
        "des": PasswordState.SET,
        "nis": PasswordState.LOCKED,
    }
    assert {user.name: user.shell for user in found.value}["set"] == "/bin/sh"
    assert "secret" not in repr(found)
    assert "abcdefghijklm" not in repr(found)


def test_users_without_passwd_are_unknown() -> None:
    """An initial ramdisk without /etc/passwd would be said to have 0 users."""
    assert contents.find_users(make_tree({"init": b""})).value is None


# --- programs and units -------------------------------------------------------------------------------


def test_programs_are_found_through_links_and_only_if_executable() -> None:
    """A shell would be counted under each of its names, or though it is not there."""
    files = {
        "bin": b"-> usr/bin",
        "usr/bin/dash": b"\x7fELF",
        "usr/bin/sh": b"-> dash",
        "usr/bin/zsh": b"-> /etc/alternatives/zsh",
        "usr/bin/ksh": b"no x bit",
        "usr/bin/python3": b"-> python3.11",
        "usr/bin/python3.11": b"\x7fELF",
        "usr/bin/python3-config": b"#!",
        "usr/bin/apt": b"\x7fELF",
        "opt/strange/shell": b"\x7fELF",
        "etc/shells": b"# comment\n/bin/sh\n/opt/strange/shell\n/bin/none\nrelative\n",
    }
    executable = (
        "usr/bin/dash",
        "usr/bin/python3.11",
        "usr/bin/python3-config",
        "usr/bin/apt",
        "opt/strange/shell",
    )
    tree = make_tree(files, dict.fromkeys(executable, 0o755))
    shells = contents.find_shells(tree).value or ()
    assert {program.target for program in shells} == {"/usr/bin/dash", "/opt/strange/shell"}
    assert ("/bin/sh", "/usr/bin/dash") in {(program.path, program.target) for program in shells}
    assert [p.target for p in contents.find_package_managers(tree).value or ()] == ["/usr/bin/apt"]
    assert {p.target for p in contents.find_interpreters(tree).value or ()} == {"/usr/bin/python3.11"}


def test_enabled_units_are_links_and_masks_do_not_count() -> None:
    """A service would be listed that never starts, or one missing that does."""
    files = {
        "usr/lib/systemd/system/ssh.service": b"",
        "etc/systemd/system/multi-user.target.wants/ssh.service": b"-> /lib/systemd/system/ssh.service",
        "etc/systemd/system/sockets.target.requires/a.socket": b"-> /lib/systemd/system/a.socket",
        "etc/systemd/system/multi-user.target.wants/masked.service": b"-> /dev/null",
        "etc/systemd/system/own.service": b"",
        "etc/systemd/system/dbus.service": b"-> /lib/systemd/system/other.service",
    }
    found = contents.find_units(make_tree(files)).value
    assert found is not None
    assert [(unit.name, unit.wanted_by) for unit in found] == [
        ("a.socket", "sockets.target"),
        ("ssh.service", "multi-user.target"),
    ]
    assert contents.find_units(make_tree({"init": b""})).value is None


def test_modules_are_counted_compressed_or_not() -> None:
    """Kernel modules would be missed where a distribution compresses them."""
    base = "usr/lib/modules/6.1/kernel/"
    files = {base + name: b"" for name in ("a.ko", "b.ko.xz", "c.ko.zst", "d.ko.gz", "e.txt", "f.ko.sig")}
    assert contents.count_modules(make_tree(files)).value == 4
    assert contents.count_modules(make_tree({"init": b""})).value == 0
    assert contents.count_modules(make_tree({"lib/modules/virtio_net.ko": b"", "lib/x.ko": b""})).value == 1


# --- kernel -------------------------------------------------------------------------------------------

CONFIG = (
    b'# Linux\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_RANDOMIZE_BASE=y\n# CONFIG_KEXEC is not set\nCONFIG_S="y"\n'
)
GRUB = b"""set default="0"
menuentry 'Debian' {
\tlinux\t/boot/vmlinuz-6.1.0-10 root=UUID=1 ro console=ttyS0
}
menuentry 'other' {
\tlinux /boot/vmlinuz-6.1.0-9 single
}
"""


def find_boot_files(tree: Tree) -> tuple[Known[str], Known[KernelConfig], Known[str]]:
    """The newest kernel, its configuration and its command line."""
    kernel = linux_kernel.find_kernel_name(tree)
    config = linux_kernel.find_config(tree, Path("nowhere"))
    return kernel, config, linux_kernel.find_cmdline(tree)


def test_newest_kernel_with_its_configuration_and_command_line() -> None:
    """The configuration would be that of an older kernel."""
    names = {"vmlinuz-6.1.0-9": b"old", "vmlinuz-6.1.0-10": b"new", "config-6.1.0-10": CONFIG}
    names |= {"config-6.1.0-9": b"CONFIG_A=m\n", "grub/grub.cfg": GRUB, "grub/vmlinuz-9": b"no"}
    tree = make_tree({f"boot/{name}": data for name, data in names.items()})
    kernel, config, cmdline = find_boot_files(tree)
    assert kernel.value == "vmlinuz-6.1.0-10"
    assert config.value is not None
    assert (config.value.builtin, config.value.modules) == (2, 1)
    states = {option.name: option.state for option in config.value.hardening}
    assert (states["RANDOMIZE_BASE"], states["KEXEC"], states["CFI_CLANG"]) == ("y", "n", "absent")
    assert cmdline.value == "root=UUID=1 ro console=ttyS0"


def test_loader_entries_give_the_command_line_without_grub() -> None:
    """The command line of a system with systemd-boot would be unknown."""
    entry = b"title Linux\nlinux /vmlinuz\noptions quiet ro\n"
    files = {"boot/vmlinuz-6": b"", "boot/loader/entries/a.conf": entry}
    kernel, config, cmdline = find_boot_files(make_tree(files))
    assert (kernel.value, cmdline.value) == ("vmlinuz-6", "quiet ro")
    assert config.unknown.startswith(
        "there is no /boot/config-6, nor one beside its modules; the kernel is no"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b" \n"])
def test_configuration_is_read_whatever_ends_its_lines(end: bytes) -> None:
    """A configuration that was saved on Windows would have 0 options."""
    found = linux_kernel.parse_config(CONFIG.replace(b"\n", end), "here").value
    assert found is not None
    assert (found.builtin, found.modules) == (2, 1)
    states = {option.name: option.state for option in found.hardening}
    assert (states["RANDOMIZE_BASE"], states["KEXEC"]) == ("y", "n")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("STRICT_KERNEL_RWX", "DEBUG_RODATA"),
        ("STRICT_MODULE_RWX", "DEBUG_SET_MODULE_RONX"),
        ("STACKPROTECTOR", "CC_STACKPROTECTOR"),
        ("STACKPROTECTOR_STRONG", "CC_STACKPROTECTOR_STRONG"),
        ("MITIGATION_RETPOLINE", "RETPOLINE"),
        ("MITIGATION_PAGE_TABLE_ISOLATION", "PAGE_TABLE_ISOLATION"),
        ("RANDSTRUCT_FULL", "GCC_PLUGIN_RANDSTRUCT"),
        ("GCC_PLUGIN_STACKLEAK", "KSTACK_ERASE"),
        ("CFI_CLANG", "CFI"),
        ("X86_X32_ABI", "X86_X32"),
        ("X86_UMIP", "X86_INTEL_UMIP"),
    ],
)
def test_options_are_found_by_their_names_in_other_kernels(name: str, other: str) -> None:
    """An option that was renamed would be shown as missing from older kernels, or from newer ones."""
    for line, state in (
        (f"CONFIG_{other}=y\n", "y"),
        (f"CONFIG_{name}=y\n# CONFIG_{other} is not set\n", "y"),
        (f"# CONFIG_{other} is not set\n", "n"),
        ("CONFIG_A=y\n", "absent"),
    ):
        found = linux_kernel.parse_config(line.encode(), "here").value
        assert found is not None
        assert {option.name: option.state for option in found.hardening}[name] == state


ENTRY = b"title Linux\nversion 6.9.1\nlinux /machine/6.9.1/linux\noptions ro quiet\n"
KERNELS: dict[str, tuple[dict[str, bytes], str, str]] = {
    "Arch": (
        {"boot/vmlinuz-linux": b"k", "boot/initramfs-linux.img": b""},
        "vmlinuz-linux",
        "vmlinuz in /boot",
    ),
    "Alpine": ({"boot/vmlinuz-virt": b"k", "boot/initramfs-virt": b""}, "vmlinuz-virt", "vmlinuz in /boot"),
    "Gentoo": (
        {"boot/kernel-6.6.21-gentoo-dist": b"k", "boot/kernel-5.15.1-gentoo": b"", "boot/kernel/x": b""},
        "kernel-6.6.21-gentoo-dist",
        "kernel in /boot",
    ),
    "own build": ({"boot/bzImage": b"k", "boot/System.map": b""}, "bzImage", "kernel in /boot"),
    "own release": ({"boot/bzImage-6.8": b"k", "boot/bzImage-6.10": b"k"}, "bzImage-6.10", "kernel in /boot"),
    "Image": ({"boot/Image": b"k"}, "Image", "kernel in /boot"),
    "link": (
        {"boot/vmlinuz": b"-> ../store/kernel-1", "store/kernel-1": b"k"},
        "kernel-1",
        "vmlinuz in /boot",
    ),
    "SUSE": (
        {"boot/vmlinux-6.4.0.gz": b"", "boot/vmlinuz-6.4.0": b"k", "boot/.vmlinuz-6.4.0.hmac": b""},
        "vmlinuz-6.4.0",
        "vmlinuz in /boot",
    ),
    "Fedora, Flatcar": (
        {"usr/lib/modules/6.8.5/vmlinuz": b"k", "usr/lib/modules/6.10.0/vmlinuz": b"k", "boot/x": b""},
        "vmlinuz",
        "kernel in /usr/lib/modules",
    ),
    "systemd-boot": (
        {"boot/loader/entries/m-6.9.1.conf": ENTRY, "boot/machine/6.9.1/linux": b"k"},
        "linux",
        "/boot/loader/entries/m-6.9.1.conf",
    ),
    "systemd-boot, one file system": (
        {"boot/loader/entries/a.conf": b"linux /boot/special\n", "boot/special": b"k"},
        "special",
        "/boot/loader/entries/a.conf",
    ),
    "NixOS": (
        {"boot/kernels/8q-linux-6.6.30-bzImage": b"k", "boot/kernels/x-initrd-linux-6.6.30-initrd": b""},
        "8q-linux-6.6.30-bzImage",
        "kernel in /boot/kernels",
    ),
}


@pytest.mark.parametrize("case", KERNELS)
def test_kernels_are_found_where_distributions_have_them(case: str) -> None:
    """A system would be said to have no kernel, since it is not called vmlinuz-RELEASE."""
    files, name, where = KERNELS[case]
    tree = make_tree(files)
    found = linux_kernel.find_kernel_name(tree)
    assert found.value == name
    assert where in found.source
    kernel = linux_kernel.find_kernel(tree)
    assert kernel is not None
    assert tree.read(kernel.entry, 9) == b"k"


def test_configuration_beside_the_modules_and_options_of_the_entry_are_read() -> None:
    """The configuration and command line of Fedora, or of systemd-boot, would be unknown."""
    files = {"usr/lib/modules/6.10/vmlinuz": b"k", "usr/lib/modules/6.10/config": CONFIG}
    _, config, cmdline = find_boot_files(make_tree(files))
    assert config.source == "/usr/lib/modules/6.10/config"
    assert cmdline.value is None
    older = ENTRY.replace(b"6.9.1", b"6.8.12").replace(b"quiet", b"old")
    files = {
        "boot/loader/entries/m-6.8.12.conf": older,
        "boot/loader/entries/m-6.9.1.conf": ENTRY,
        "boot/machine/6.9.1/linux": b"k",
        "boot/machine/6.8.12/linux": b"k",
        "lib/modules/6.9.1/config": CONFIG,
    }
    root = make_tree(files)
    assert linux_kernel.find_config(root, Path("nowhere")).source == "/lib/modules/6.9.1/config"
    assert linux_kernel.find_cmdline(root).value == "ro quiet"


def test_configuration_without_options_is_a_reason() -> None:
    """A damaged configuration would be reported as a kernel without any option."""
    for text in (b"", b"# CONFIG_" + b"A" * 100_000, b"\n" * 100_000):
        tree = make_tree({"boot/vmlinuz-6": b"", "boot/config-6": text, "boot/grub/grub.cfg": text})
        _, config, cmdline = find_boot_files(tree)
        assert config.unknown == "the configuration holds no option"
        assert cmdline.value is None


def test_missing_kernel_is_a_reason() -> None:
    """A file system without a kernel would be said to have one with 0 options."""
    for found in find_boot_files(make_tree({"etc/passwd": b""})):
        assert found.value is None
        assert found.unknown == "there is no kernel in /boot, nor beside its modules"


@given(st.lists(st.sampled_from([b"a", b"b", b"..", b".", b"", b"link", b"up"]), max_size=40).map(b"/".join))
def test_paths_never_lead_out_of_a_tree(path: bytes) -> None:
    """A link or path in an image would lead to nothing sensible, or never end."""
    tree = make_tree({"a/b/a": b"x", "a/link": b"-> ../b/up", "b/up": b"-> /a/../../a/b", "link": b"-> link"})
    found = tree.find(path)
    assert found is None or len(found.path) <= MAX_PATH_BYTES
