drop table inventory_movements;
drop table inventory;
drop function search_products(text);
drop table products;
drop function search_words(text);
