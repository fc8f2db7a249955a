drop table users;
drop table tenants;
