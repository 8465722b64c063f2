#!/bin/sh
# Installs the library, its headers and a pkg-config file, or removes them; apps/example uses them.
# Usage: install.sh install|uninstall library flags       PREFIX=/usr/local, DESTDIR=
library=$2 flags=$3 prefix=${PREFIX:-/usr/local}
root=$DESTDIR$prefix
package=slimgrad
case $flags in *SLIM_REAL_DOUBLE*) package=slimgrad-double flags=' -DSLIM_REAL_DOUBLE' ;; *) flags= ;; esac
archive=$root/lib/lib$package.a description=$root/lib/pkgconfig/$package.pc
if [ "$1" = uninstall ]; then
    rm -rf "$root/include/slimgrad" "$archive" "$description"
    exit
fi
for header in core/*.h data/*.h nn/*.h nn/*/*.h optim/*.h; do
    install -D -m 644 "$header" "$root/include/slimgrad/$header" || exit 1
done
install -D -m 644 "$library" "$archive" && mkdir -p "${description%/*}" || exit 1
cat >"$description" <<END || exit 1
prefix=$prefix
Name: $package
Version: $(sed -n 's/.*kVersion = "\(.*\)";/\1/p' core/version.h)
Description: tensors, autograd, LoRA and DoRA
Cflags: -std=c++20 -I\${prefix}/include/slimgrad$flags
Libs: -L\${prefix}/lib -l$package -lopenblas
END
echo "installed: $archive $description"
