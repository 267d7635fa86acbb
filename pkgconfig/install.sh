#!/bin/sh
# Installs libcachefs from what `cargo build --release` made. Usually called by
# `make install`; all of these may be set in the environment:
#
#   BUILD       where cargo put the release build      target/release
#   PREFIX      where it will be used                  /usr/local
#   LIBDIR      libraries, libcachefs_preload.so, pkgconfig/   $PREFIX/lib
#   INCLUDEDIR  cachefs.h                              $PREFIX/include
#   BINDIR      the tool cachefs                       $PREFIX/bin
#   SBINDIR     cachefsd and mount.cachefs             $PREFIX/sbin
#   UNITDIR     cachefsd@.service                      $PREFIX/lib/systemd/system
#   DESTDIR     put in front of all of them, for packages
#   CC LD OBJCOPY AR                                   cc ld objcopy ar
set -eu
umask 022
cd "$(dirname "$0")/.."

BUILD=${BUILD:-${CARGO_TARGET_DIR:-target}/release}
PREFIX=${PREFIX:-/usr/local}
LIBDIR=${LIBDIR:-$PREFIX/lib}
INCLUDEDIR=${INCLUDEDIR:-$PREFIX/include}
BINDIR=${BINDIR:-$PREFIX/bin}
SBINDIR=${SBINDIR:-$PREFIX/sbin}
UNITDIR=${UNITDIR:-$PREFIX/lib/systemd/system}
DESTDIR=${DESTDIR:-}
CC=${CC:-cc}
LD=${LD:-ld}
OBJCOPY=${OBJCOPY:-objcopy}
AR=${AR:-ar}

MAP=include/libcachefs.map
VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
ABI=$(sed -n 's/^pub const CACHEFS_ABI: u32 = \([0-9]*\);$/\1/p' src/capi/types.rs)
NATIVE_LIBS=$(sed -n 's/^Libs.private: *//p' pkgconfig/cachefs.pc.in)
for name in VERSION ABI NATIVE_LIBS; do
    eval "value=\$$name"
    [ -n "$value" ] || { echo "install.sh: cannot tell $name from the sources" >&2; exit 1; }
done

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 1' HUP INT TERM

# The symbols of every release, from the version script.
sed -n 's/^ *\(cachefs_[a-z0-9_]*\);$/\1/p' "$MAP" > "$WORK/symbols"

# The shared library that cargo links has the right symbols, but without
# versions; so it is linked again from the static one.
link_shared() {
    # shellcheck disable=SC2086 # NATIVE_LIBS is a list of words
    $CC -shared -o "$WORK/libcachefs.so" \
        -Wl,--whole-archive "$BUILD/libcachefs.a" -Wl,--no-whole-archive \
        -Wl,--version-script="$MAP" -Wl,-soname,"libcachefs.so.$ABI" \
        -Wl,-z,now,-z,relro,-z,defs,--gc-sections,--as-needed $NATIVE_LIBS
}

# A static library of rustc's exports the symbols of Rust's standard library
# too, which clash in a program that links two such libraries. So it becomes one
# object whose only global symbols are those of the API.
#
# The input format is named since objcopy otherwise offers the file to the
# plugins of binutils, and an older LLVM's stops at the bitcode that rustc puts
# into its standard library; with the bitcode removed, ar and ld are safe.
link_static() {
    # shellcheck disable=SC2046 # one word for each symbol
    $LD -r --force-group-allocation --gc-sections -o "$WORK/whole.o" \
        $(sed 's/^/-u /' "$WORK/symbols") "$BUILD/libcachefs.a"
    $OBJCOPY -I "$($LD --print-output-format)" --keep-global-symbols="$WORK/symbols" \
        --remove-section=.llvmbc --remove-section=.llvmcmd "$WORK/whole.o" "$WORK/cachefs.o"
    $AR rcs "$WORK/libcachefs.a" "$WORK/cachefs.o"
}

write_pc() {
    sed -e "s|@PREFIX@|$PREFIX|" -e "s|@LIBDIR@|$LIBDIR|" -e "s|@INCLUDEDIR@|$INCLUDEDIR|" \
        -e "s|@VERSION@|$VERSION|" -e "/^[a-z]*dir=/s|=$PREFIX/|=\${prefix}/|" \
        pkgconfig/cachefs.pc.in > "$WORK/cachefs.pc"
}

link_shared
link_static
write_pc
sed "s|@SBINDIR@|$SBINDIR|" pkgconfig/cachefsd@.service.in > "$WORK/cachefsd@.service"

lib=$DESTDIR$LIBDIR
install -d "$lib/pkgconfig" "$DESTDIR$INCLUDEDIR" "$DESTDIR$BINDIR" "$DESTDIR$SBINDIR" \
    "$DESTDIR$UNITDIR"
install -m 755 "$WORK/libcachefs.so" "$lib/libcachefs.so.$VERSION"
ln -sf "libcachefs.so.$VERSION" "$lib/libcachefs.so.$ABI"
ln -sf "libcachefs.so.$ABI" "$lib/libcachefs.so"
install -m 644 "$WORK/libcachefs.a" "$lib/libcachefs.a"
# Nobody links it, so it has neither a version nor a soname.
install -m 755 "$BUILD/libcachefs_preload.so" "$lib/libcachefs_preload.so"
install -m 644 "$WORK/cachefs.pc" "$lib/pkgconfig/cachefs.pc"
install -m 644 include/cachefs.h "$DESTDIR$INCLUDEDIR/cachefs.h"
install -m 755 "$BUILD/cachefs" "$DESTDIR$BINDIR/cachefs"
install -m 755 "$BUILD/cachefsd" "$DESTDIR$SBINDIR/cachefsd"
ln -sf cachefsd "$DESTDIR$SBINDIR/mount.cachefs"
install -m 644 "$WORK/cachefsd@.service" "$DESTDIR$UNITDIR/cachefsd@.service"
