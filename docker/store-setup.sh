#!/bin/sh
# Writes into DIR what SeaweedFS reads at its start: who may do what by S3, and by what its parts know each other.
#   store-setup.sh DIR
# Secrets come from the environment. DIR is a volume that nothing but SeaweedFS mounts, read-only, as the same user.
set -eu
umask 077
cd "$1"

# The ports on which its parts talk to each other would hand out keys and do whatever they are asked: they want this
# certificate. Its volumes would hand out, take and delete objects: they want tokens. Both are made once: SeaweedFS may be
# running when this is run again.
if [ ! -s security.toml ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=seaweedfs \
        -keyout inner.key -out inner.pem 2>/dev/null
    {
        echo '[grpc]'
        echo "ca = \"$1/inner.pem\""
        for part in master volume filer s3 admin worker client; do
            printf '[grpc.%s]\ncert = "%s/inner.pem"\nkey = "%s/inner.key"\n' "$part" "$1" "$1"
        done
        for what in jwt.signing jwt.signing.read jwt.filer_signing jwt.filer_signing.read; do
            printf '[%s]\nkey = "%s"\n' "$what" "$(openssl rand -hex 24)"
        done
    } > security.new
    mv security.new security.toml
fi

# Each does what docs/operate.md says its role needs, in these buckets, and nobody makes or deletes buckets. Whoever hands in
# jobs puts pictures there and has the results.
cat > s3.json <<IDENTITIES
{"identities": [
  {"name": "operator",
   "credentials": [{"accessKey": "operator", "secretKey": "$OPERATOR_S3_SECRET_KEY"}],
   "actions": ["Read:uploads", "List:uploads", "Write:uploads", "Read:styles", "List:styles", "Write:styles",
               "Read:results", "List:results", "Write:results"]},
  {"name": "gateway",
   "credentials": [{"accessKey": "gateway", "secretKey": "$GATEWAY_S3_SECRET_KEY"}],
   "actions": ["Read:uploads", "List:uploads", "Write:uploads", "Read:styles", "List:styles",
               "Read:results", "List:results", "Write:results", "Read:work", "List:work"]},
  {"name": "listener",
   "credentials": [{"accessKey": "listener", "secretKey": "$LISTENER_S3_SECRET_KEY"}],
   "actions": ["Read:uploads", "List:uploads"]},
  {"name": "worker",
   "credentials": [{"accessKey": "worker", "secretKey": "$WORKER_S3_SECRET_KEY"}],
   "actions": ["Read:uploads", "List:uploads", "Read:styles", "List:styles",
               "Read:results", "List:results", "Write:results", "Read:work", "List:work", "Write:work"]},
  {"name": "keeper",
   "credentials": [{"accessKey": "keeper", "secretKey": "$KEEPER_S3_SECRET_KEY"}],
   "actions": ["Read:results", "List:results", "Write:results", "Read:work", "List:work", "Write:work"]}
]}
IDENTITIES
