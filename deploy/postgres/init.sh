#!/usr/bin/env bash
#
# Makes the roles and the database in the PostgreSQL container: its entry point runs this once, as
# the superuser, when the data directory is new. Harmless to run again, which also sets new
# passwords:
#
#   docker compose exec postgres /docker-entrypoint-initdb.d/10-mercato.sh
#
# Reads MERCATO_OWNER_PASSWORD and MERCATO_APP_PASSWORD, or the files that the same names with _FILE
# give. The other roles cannot log in.

set -euo pipefail

# Exports the variable $1, from the file that $1_FILE names if there is one.
read_secret() {
  local name=$1 file_name="${1}_FILE"
  if [[ -n ${!file_name:-} ]]; then
    export "$name=$(<"${!file_name}")"
  fi
  [[ -n ${!name:-} ]] || {
    echo "set $name or $file_name" >&2
    exit 1
  }
}

read_secret MERCATO_OWNER_PASSWORD
read_secret MERCATO_APP_PASSWORD

as_superuser() {
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres "$@"
}

sql=${MERCATO_SQL:-/mercato}
as_superuser --file "$sql/roles.sql"
exists=$(as_superuser --tuples-only --no-align --command "SELECT 1 FROM pg_database WHERE datname = 'mercato'")
[[ -n $exists ]] || as_superuser --file "$sql/database.sql"

# The passwords travel in the environment: arguments can be read by every process.
as_superuser <<'SQL'
\getenv owner_password MERCATO_OWNER_PASSWORD
\getenv app_password MERCATO_APP_PASSWORD
ALTER ROLE mercato_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE mercato_app LOGIN PASSWORD :'app_password';
SQL
