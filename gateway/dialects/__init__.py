"""Wire formats, one file each: how a surface writes requests, answers, streams and errors."""
