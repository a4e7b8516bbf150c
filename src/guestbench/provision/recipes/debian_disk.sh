# The last step inside mmdebstrap: finishes the root file system in "$1" and writes it into the disk image.
# mmdebstrap runs this text with sh; settings come in the environment, GUESTBENCH_DISK is a file descriptor
# (a path would not do: the mapped user of a user namespace may not pass through the caller's home folder).
set -eu
root=$1

for unit in $GUESTBENCH_ENABLE; do
    chroot "$root" systemctl --quiet enable "$unit"
done
for unit in $GUESTBENCH_MASKED; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" passwd --quiet --delete root

release=$(ls "$root/lib/modules" | sort -V | tail -n 1)
chroot "$root" update-initramfs -c -k "$release"
mkdir -p "$root/boot/grub/i386-pc"
cp "$root"/usr/lib/grub/i386-pc/*.mod "$root"/usr/lib/grub/i386-pc/*.lst \
    "$root/usr/lib/grub/i386-pc/boot.img" "$root/boot/grub/i386-pc/"
chroot "$root" grub-mkimage -O i386-pc -p "(,gpt1)/boot/grub" \
    -o /boot/grub/i386-pc/core.img biosdisk part_gpt ext2
sed -i "s/@RELEASE@/$release/g" "$root/boot/grub/grub.cfg"

# What only this build needed, or what would make two guests the same machine.
chroot "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root/etc/apt/apt.conf.d/00mmdebstrap" \
    "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root"/etc/apt/sources.list.d/0000* \
    "$root"/var/log/apt/* "$root/var/log/dpkg.log" "$root/var/log/alternatives.log" \
    "$root/var/log/bootstrap.log" "$root/var/lib/systemd/random-seed" "$root/var/lib/dbus/machine-id" \
    "$root"/tmp/* "$root"/run/*
mkdir -p "$root/var/lib/apt/lists/partial"
: > "$root/etc/machine-id"
printf '%s\n' '# No package source is set: see "guestbench systems show".' > "$root/etc/apt/sources.list"
printf '%s\n' "$GUESTBENCH_HOSTNAME" > "$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# A bind mount that is not recursive shows the root without the /proc, /sys and /dev mounted on it.
mount --bind "$root" "$root/mnt"
chroot "$root" mke2fs -q -F -t ext4 -b 4096 -U "$GUESTBENCH_UUID" -O "^metadata_csum_seed,^orphan_file" \
    -E "offset=$GUESTBENCH_OFFSET,hash_seed=$GUESTBENCH_HASH_SEED,lazy_itable_init=0,assume_storage_prezeroed=1" \
    -d /mnt "/proc/self/fd/$GUESTBENCH_DISK" "$GUESTBENCH_BLOCKS"
umount "$root/mnt"
