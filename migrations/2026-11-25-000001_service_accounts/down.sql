drop table service_account_uses;
drop table service_accounts;
