"""Measures what a request costs in CPU, beside nginx with LuaJIT that does the same job."""
