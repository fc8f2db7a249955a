revoke select (version) on __diesel_schema_migrations from mercato_app;
