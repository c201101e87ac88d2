#!/bin/sh
# Runs PostgreSQL, and makes its data first where there are none yet: a role and a database, both named
# forward. The role has the password of a file; the superuser postgres has none, so that it can only come
# from within the pod.
set -eu

PASSWORD_FILE=${PASSWORD_FILE:-/secret/password}
PGDATA=${PGDATA:-/data/postgres}
PATH=$(echo /usr/lib/postgresql/*/bin)
export PATH

# Reads SQL; there is no server yet that could be connected to.
alone() {
  postgres --single -j -c exit_on_error=on -D "$1" postgres >/dev/null
}

make_data() {
  # Made aside and renamed: a kill on the way leaves nothing that could be taken for the whole.
  busybox=/bin/busybox
  unfinished=$PGDATA.unfinished
  $busybox rm -rf "$unfinished"
  initdb --pgdata="$unfinished" --username=postgres --encoding=UTF8 --locale=C \
    --auth-local=trust --auth-host=scram-sha-256
  echo "host all all all scram-sha-256" >>"$unfinished/pg_hba.conf"
  password=$($busybox sed "s/'/''/g" "$PASSWORD_FILE")
  alone "$unfinished" <<END
CREATE ROLE forward LOGIN PASSWORD '$password';

CREATE DATABASE forward OWNER forward;
END
  $busybox mv "$unfinished" "$PGDATA"
}

[ -d "$PGDATA" ] || make_data

exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp \
  -c max_connections=200 -c shared_buffers=64MB -c jit=off -c timezone=UTC
