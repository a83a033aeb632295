#!/bin/sh
# Makes the certificates that the tests of TLS use: an authority, a server's for api.test, a client's.
set -eu
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
sign() { # name, subject, extension
    key "$1.key"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    printf '%s\n' "basicConstraints=CA:FALSE" "$3" >"$1.ext"
    openssl ca -batch -config ca.conf -cert ca.pem -keyfile ca.key -extfile "$1.ext" -in "$1.csr" -out "$1.pem" \
        -notext -startdate 20200101000000Z -enddate 21200101000000Z
    rm "$1.csr" "$1.ext"
}
cat >ca.conf <<CONF
[ca]
default_ca = test
[test]
database = ca.index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
CONF
: >ca.index
key ca.key
openssl req -x509 -new -key ca.key -subj "/CN=decima test authority" -days 36500 -out ca.pem
sign server "/CN=api.test" "subjectAltName=DNS:api.test"
sign client "/CN=scraper" "extendedKeyUsage=clientAuth"
rm -f ca.key ca.conf ca.index* [0-9A-F][0-9A-F]*.pem
