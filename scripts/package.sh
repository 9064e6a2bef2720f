#!/usr/bin/env bash
# Makes the Debian packages manyhands-server, manyhands-client (with sandbox, trainer and LibTorch's CPU libraries) and
# manyhands-cli, in build/package.
#
# Programs and their component: `install_programs` in CMakeLists.txt. Texts and units: scripts/package/. Manual pages and
# completions are what the programs print. Why not CPack: docs/decisions/0007-packages.md. No arguments.
set -euo pipefail
export LC_ALL=C.UTF-8
umask 022

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
build=build/release
out=build/package
texts=scripts/package
version=$(sed -n 's/^project(manyhands VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
architecture=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

fail() { echo "package.sh: $*" >&2; exit 1; }
for tool in dpkg-deb dpkg-shlibdeps cmake strip gzip; do
  command -v "$tool" >/dev/null || fail "no $tool here: run scripts/setup.sh first (dpkg-shlibdeps is in dpkg-dev)"
done
MANYHANDS_REQUIRE_TORCH=ON scripts/build.sh release manyhands-server manyhands-client manyhands-trainer manyhands-trainer-packaged manyhands
mkdir -p "$out"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
rm -f "$out"/manyhands-*.deb

# Only what the trainer loads on a CPU, in the layout in which the libraries look for each other.
add_torch() {  # add_torch ROOT
  local torch target=$1/usr/lib/manyhands library licenses=$1/usr/share/doc/manyhands-client/licenses
  torch=$(ldd "$build/bin/manyhands-trainer" | sed -n 's|.*=> \(.*\)/torch/lib/libtorch_cpu\.so .*|\1|p')
  [[ -n $torch ]] || fail "the trainer's LibTorch is not found"
  torch=$(realpath "$torch")
  while read -r library; do
    install -D -m 644 "$library" "$target/${library#"$torch"/}"
  done < <(ldd "$build/bin/manyhands-trainer" | sed -n 's|.*=> \(/.*\) (0x.*|\1|p' | xargs realpath | grep -F "$torch/" | sort -u)
  mkdir -p "$licenses"
  for library in "$torch"/*.dist-info; do
    [[ -d $library/licenses ]] || continue
    local name
    name=$(basename "$library" .dist-info)
    for file in "$library"/licenses/*; do
      if [[ -f $file ]]; then gzip -9n <"$file" >"$licenses/$name.$(basename "$file").gz"; fi
    done
  done
}

# add_file MODE SOURCE ROOT TARGET
add_file() { install -D -m "$1" "$2" "$3/$4"; }

add_manuals() {  # add_manuals ROOT
  local program name
  for program in "$1"/usr/bin/*; do
    name=$(basename "$program")
    mkdir -p "$1/usr/share/man/man1" "$1/usr/share/bash-completion/completions"
    "$build/bin/$name" --man | gzip -9n >"$1/usr/share/man/man1/$name.1.gz"
    "$build/bin/$name" --bash-completion >"$1/usr/share/bash-completion/completions/$name"
  done
}

add_documents() {  # add_documents ROOT PACKAGE
  local folder=$1/usr/share/doc/$2
  mkdir -p "$folder"
  gzip -9n <docs/CHANGELOG.md >"$folder/changelog.gz"
  cat "$texts/copyright" >"$folder/copyright"
}

# The packages that the programs' libraries are in, by dpkg-shlibdeps, with versions.
library_packages() {  # library_packages ROOT
  mkdir -p "$work/shlibs/debian"
  printf 'Source: manyhands\n' >"$work/shlibs/debian/control"
  local elf=()
  mapfile -t elf < <(find "$repo/$1/usr/bin" -type f)
  (cd "$work/shlibs" && dpkg-shlibdeps -O --ignore-missing-info -l"$repo/$1/usr/lib/manyhands/torch/lib" \
    -l"$repo/$1/usr/lib/manyhands/nvidia/cu13/lib" "${elf[@]}" 2>"$repo/$work/shlibs.log") |
    sed -n 's/^shlibs:Depends=//p'
}

make_package() {  # make_package COMPONENT
  local name=manyhands-$1 root=$work/manyhands-$1 depends more_depends suggests line text
  cmake --install "$build" --component "$1" --prefix "$root/usr" --strip >"$work/install.log" || { cat "$work/install.log" >&2; exit 1; }
  add_manuals "$root"
  add_documents "$root" "$name"
  if [[ $1 == client ]]; then add_torch "$root"; fi
  mkdir -p "$root/DEBIAN"
  if [[ $1 != cli ]]; then
    add_file 644 "$texts/$name.service" "$root" "usr/lib/systemd/system/$name.service"
    add_file 644 "$texts/$name.default" "$root" "etc/default/$name"
    echo "/etc/default/$name" >"$root/DEBIAN/conffiles"
    local script
    for script in postinst prerm postrm; do add_file 755 "$texts/$name.$script" "$root" "DEBIAN/$script"; done
  fi
  depends=$(library_packages "$root") || { cat "$work/shlibs.log" >&2; fail "dpkg-shlibdeps failed"; }
  IFS='|' read -r _ more_depends suggests line text < <(grep "^$name|" "$texts/control")
  {
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\n' "$name" "$version" "$architecture"
    printf 'Maintainer: Manyhands <manyhands@localhost>\nSection: science\nPriority: optional\n'
    printf 'Installed-Size: %s\n' "$(du -sk --apparent-size "$root" | cut -f1)"
    printf 'Depends: %s\n' "$depends${more_depends:+, $more_depends}"
    [[ -z $suggests ]] || printf 'Suggests: %s\n' "$suggests"
    printf 'Description: %s\n %s\n' "$line" "$text"
  } >"$root/DEBIAN/control"
  dpkg-deb --root-owner-group -Zzstd -z3 --build "$root" "$out/${name}_${version}_$architecture.deb" >/dev/null
  echo "package: $(du -h --apparent-size "$out/${name}_${version}_$architecture.deb" | tr '\t' ' ')"
}

for component in server client cli; do make_package "$component"; done
