drop table order_status_history;
drop index inventory_movements_tenant_order;
alter table inventory_movements drop constraint inventory_movements_tenant_id_order_id_fkey;
drop table order_items;
drop table orders;
drop function record_order_status();
