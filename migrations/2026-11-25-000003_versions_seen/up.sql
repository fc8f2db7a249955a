-- The server looks which migrations have run before it serves.
grant select (version) on __diesel_schema_migrations to mercato_app;
