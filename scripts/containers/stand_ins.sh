#!/bin/bash
# Makes images that stand in for those which docker/ builds on and runs, where no registry of images can be reached: Debian 12
# with the programs that the packages of `make install` bring, and such users, paths and entry points as the originals have.
#
#   scripts/containers/stand_ins.sh DIR      as root; 3 minutes, 1 GB
#   . DIR/environment                        podman and make then keep all they have in DIR, and let others' alone
#
# Wants Debian's podman, runc, netavark, aardvark-dns and debootstrap, and for `make containers` PyPI's podman-compose. What
# building needs of this machine, certificates above all, goes in by BUILD_FLAGS and into no image; packages come from
# debootstrap's own mirror, or from DEBIAN_MIRROR.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "$1"
dir=$(realpath "$1")

# No limits that a container in a container may not raise, and no other storage than this. netavark: containers on several
# networks find each other by name on all of them.
cat > "$dir/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
[network]
network_backend = "netavark"
CONF
cat > "$dir/storage.conf" <<CONF
[storage]
driver = "${STORAGE_DRIVER:-overlay}"
graphroot = "$dir/storage"
runroot = "$dir/run"
CONF
cat > "$dir/environment" <<CONF
export CONTAINERS_CONF=$dir/containers.conf CONTAINERS_STORAGE_CONF=$dir/storage.conf BUILDAH_ISOLATION=chroot
export ENGINE=podman BASE_IMAGE=python:3.11-slim
export BUILD_FLAGS="--pull=never --volume /etc/ssl/certs:/etc/ssl/certs:ro"
CONF
. "$dir/environment"

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,passwd bookworm "$dir/root" ${DEBIAN_MIRROR:-}
ln -s /usr/bin/python3 "$dir/root/usr/local/bin/python"
rm -rf "$dir"/root/var/cache/apt/archives/*.deb
tar -C "$dir/root" -c . | podman import - docker.io/library/python:3.11-slim
rm -rf "$dir/root" "$dir/context"

mkdir "$dir/context"
cp "$(.venv/bin/python -c 'from stylequeue.local.valkey import find_valkey; print(find_valkey())')" "$dir/context/valkey-server"
cp "$(.venv/bin/python -c 'from stylequeue.local.seaweedfs import find_weed; print(find_weed())')" "$dir/context/weed"
printf '#!/bin/sh\nREDISCLI_AUTH=$VALKEYCLI_AUTH exec redis-cli "$@"\n' > "$dir/context/valkey-cli"

stand_in() {
    # shellcheck disable=SC2086 # several flags
    podman build $BUILD_FLAGS --file - --tag "docker.io/$1" "$dir/context"
}
stand_in valkey/valkey:9.1 <<FILE
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends redis-tools && useradd --system --uid 999 valkey \
    && install -d -o valkey -g valkey /data
COPY --chmod=755 valkey-server valkey-cli /usr/local/bin/
VOLUME /data
WORKDIR /data
CMD ["valkey-server"]
FILE
# /data is root's in the original, whoever runs it.
stand_in chrislusf/seaweedfs:4.48 <<FILE
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends busybox && ln -s busybox /bin/wget \
    && mkdir /data /etc/seaweedfs
COPY --chmod=755 weed /usr/bin/
VOLUME /data
WORKDIR /data
ENTRYPOINT ["/usr/bin/weed"]
FILE
# Debian's is of version 2.42.
stand_in prom/prometheus:v3.5.0 <<FILE
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends busybox prometheus && ln -s busybox /bin/wget \
    && install -d -o nobody /prometheus
VOLUME /prometheus
WORKDIR /prometheus
USER nobody
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
FILE
rm -rf "$dir/context"
podman images
