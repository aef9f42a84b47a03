#!/bin/sh
# Builds the real Kubernetes of the proofs, and the MetalLB they compare with; once, outside of the
# tree. Says nothing when there is nothing to do.
#
#   kubernetes.sh         builds what is missing
#   kubernetes.sh paths   prints KUBERNETES and METALLB, one a line, and fails if one is not built
#
# KUBERNETES_VERSION chooses another version than the one in kubernetes/go.mod, FERROLB_CACHE
# another directory.
set -eu

module=$(cd "$(dirname "$0")/kubernetes" && pwd)
pinned=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$module/go.mod")
version=${KUBERNETES_VERSION:-$pinned}
metallb_version=v0.16.1
cache=${FERROLB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferrolb}
hash=$(cd "$module" && cat go.mod go.sum main.go | sha256sum | cut -c 1-12)
kubernetes=$cache/kubernetes-$version-$hash
metallb=$cache/metallb-$metallb_version

is_complete() {
    [ -x "$kubernetes" ] && [ -x "$metallb/controller" ] && [ -x "$metallb/speaker" ]
}

case ${1:-build} in
build) ;;
paths)
    if ! is_complete; then
        echo "the Kubernetes of the proofs is not built: run make tools" >&2
        exit 1
    fi
    printf '%s\n%s\n' "$kubernetes" "$metallb"
    exit 0
    ;;
*)
    echo "usage: kubernetes.sh [paths]" >&2
    exit 2
    ;;
esac

if is_complete; then
    exit 0
fi

# Where Go's own archive goes, for those who have not put it on their PATH.
PATH=$PATH:/usr/local/go/bin
found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
major_minor=$(echo "${found#go}" | awk -F '[^0-9]' '{ print $1 * 1000 + $2 }')
if [ "$major_minor" -lt 1024 ]; then
    echo "Go 1.24 or newer is needed, as \`go\` on the PATH: the Kubernetes of the proofs is built with it." >&2
    exit 1
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export CGO_ENABLED=0

# The same program of another version, with what that version itself depends on.
other_version() {
    cp "$module/main.go" "$work"
    cd "$work"
    theirs=$(go mod download -json "k8s.io/kubernetes@$version" | awk -F '"' '$2 == "GoMod" { print $4 }')
    {
        echo "module kubernetes"
        awk '$1 == "go" || $1 == "godebug"' "$theirs"
    } >go.mod
    awk '$1 ~ "^k8s.io/" && $2 == "v0.0.0" { print $1 }' "$theirs" | while read -r name; do
        go mod edit -replace "$name=$name@$staging"
    done
    etcd=$(awk '$1 == "go.etcd.io/etcd/server/v3" { print $1 "@" $2 }' "$theirs")
    for name in "k8s.io/kubernetes@$version" "k8s.io/component-base@$staging" "k8s.io/kubectl@$staging" "$etcd"; do
        go mod edit -require "$name"
    done
    go mod tidy
}

if [ ! -x "$kubernetes" ]; then
    echo "building Kubernetes $version for the proofs; this takes minutes, once"
    staging=v0.${version#v*.}
    major=${version#v}
    major=${major%%.*}
    minor=${version#v*.}
    minor=${minor%%.*}
    reported=k8s.io/component-base/version
    # Without these the server says v0.0.0, and clients misjudge what it can do.
    flags="-s -w -X $reported.gitVersion=$version -X $reported.gitMajor=$major -X $reported.gitMinor=$minor"
    cd "$module"
    if [ "$version" != "$pinned" ]; then
        other_version
    fi
    nice go build -trimpath -buildvcs=false -ldflags "$flags" -o "$work/kubernetes" .
    mv "$work/kubernetes" "$kubernetes"
fi

if [ ! -x "$metallb/controller" ] || [ ! -x "$metallb/speaker" ]; then
    echo "building MetalLB $metallb_version to compare with"
    mkdir -p "$metallb"
    cd "$work"
    GOBIN=$work/bin nice go install -trimpath -ldflags "-s -w" \
        "go.universe.tf/metallb/controller@$metallb_version" \
        "go.universe.tf/metallb/speaker@$metallb_version"
    mv "$work/bin/controller" "$work/bin/speaker" "$metallb"
fi
