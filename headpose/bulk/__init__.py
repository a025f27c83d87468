"""Label millions of pictures and hours of video, and select among the labels; needs the extra ``bulk``.

``headpose label`` writes one row per face to Parquet files (``run.label``), with processes on one machine (``local``)
or on a Ray cluster (``on_ray``). ``headpose select`` filters, balances and samples them (``selection``, ``exports``).

The work is planned once (``plan``): shards of about a thousand pictures, each a list of chunks. A chunk is decoded,
its faces are detected, and their poses are read (``stages``), in batches that the plan determines, so that the rows do
not depend on the number of workers. A shard becomes one file, committed by renaming (``commit``); a run that was killed
continues with the shards that are missing.
"""
