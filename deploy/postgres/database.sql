-- The database, made once, after roles.sql, as a superuser (see there how to run both). It cannot be made to run
-- twice: CREATE DATABASE knows no IF NOT EXISTS and works in no DO block.

CREATE DATABASE mercato OWNER mercato_owner;

-- Other roles of the cluster have no business here, and the server makes no temporary tables.
REVOKE ALL ON DATABASE mercato FROM PUBLIC;

GRANT CONNECT ON DATABASE mercato TO mercato_owner, mercato_app;
