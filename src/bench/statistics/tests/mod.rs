mod draw;

mod bootstrap;
mod doubts;
mod paired;
mod record;
