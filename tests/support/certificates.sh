#!/usr/bin/env bash
# Certificates for tests, made anew: certificates.sh FOLDER
#   ca.pem, other-ca.pem            two authorities
#   good, expired, elsewhere .pem   of servers, by the first one, each with its .key: for 127.0.0.1,
#                                   for 127.0.0.1 until yesterday, and for another host
set -euo pipefail
mkdir -p "$1"
cd "$1"
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
for ca in ca other-ca; do
  openssl req -x509 "${key[@]}" -keyout $ca.key -out $ca.pem -days 30 -subj "/CN=$ca" 2>/dev/null
done
certificate() { # certificate NAME DAYS SUBJECT_ALTERNATIVE_NAME
  openssl req "${key[@]}" -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$2" -out "$1.pem" \
    -extfile <(printf 'subjectAltName = %s\n' "$3") 2>/dev/null
}
certificate good 30 IP:127.0.0.1
certificate expired -1 IP:127.0.0.1
certificate elsewhere 30 DNS:elsewhere.test
