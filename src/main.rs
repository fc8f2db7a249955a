fn main() { print!("{}", mercato::graphql::sdl()); }
