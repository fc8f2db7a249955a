-- The roles that Mercato needs in a PostgreSQL cluster (15 or newer). Once per cluster, as a superuser, in any
-- database; running it again changes nothing:
--
--   psql -v ON_ERROR_STOP=1 -d postgres -f deploy/postgres/roles.sql
--   psql -v ON_ERROR_STOP=1 -d postgres -f deploy/postgres/database.sql     (once, when there is no database yet)
--
-- No password is set here. Give the two roles that log in theirs, for example with
-- `ALTER ROLE mercato_app PASSWORD '...'`, or let them in by certificate or peer.
--
-- `mercato dev` feeds this file to `postgres --single -j`, which takes a semicolon and an empty line for the end of
-- a statement: leave one between statements, and none inside them.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY[
        'mercato_owner', 'mercato_app', 'mercato_system', 'mercato_audit', 'mercato_search', 'mercato_definers'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
    END LOOP;
END
$$;

-- Owns the database and all that is in it, and runs the migrations; the server never logs in as it.
-- CREATEDB: the tests make themselves a database each. A production cluster can do without it.
ALTER ROLE mercato_owner LOGIN INHERIT CREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- The server. It owns nothing, so that no table's row-level security makes an exception for it.
-- NOINHERIT: being a member of mercato_system gives it no power until it says SET LOCAL ROLE.
-- Set before the GRANT below, because since PostgreSQL 16 a grant remembers what it was when it was made.
ALTER ROLE mercato_app LOGIN NOINHERIT NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- The server tells passing failures from bugs by PostgreSQL's messages, so they come in one language.
ALTER ROLE mercato_app SET lc_messages = 'C';

-- Work across tenants: registering one, finding one by its key, taking in webhooks, jobs.
ALTER ROLE mercato_system NOLOGIN NOINHERIT NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- Owns the audit trigger's function, and alone may insert into the audit log.
ALTER ROLE mercato_audit NOLOGIN NOINHERIT NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- Owns the product search function, which filters by tenant itself.
ALTER ROLE mercato_search NOLOGIN NOINHERIT NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- Stands between the owner and those two; see the last statements.
ALTER ROLE mercato_definers NOLOGIN NOINHERIT NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;

GRANT mercato_system TO mercato_app;

-- Migrations give functions to mercato_audit and mercato_search. ALTER FUNCTION .. OWNER TO asks for membership (since
-- PostgreSQL 16 with the SET option, which a plain GRANT includes), and for CREATE on the schema by the new owner,
-- which the migration itself grants for that moment: schemas belong to a database, roles to the cluster.
--
-- The owner must not inherit from the two, or their row-level security policies would be the owner's too and let it
-- read every tenant. Nor can it be NOINHERIT: before PostgreSQL 16 a database's owner could then create nothing in it.
-- Through a role that is, the membership counts and the powers do not pass.
GRANT mercato_audit, mercato_search TO mercato_definers;

GRANT mercato_definers TO mercato_owner;
