"""How long a pair of picture and text takes: this package's models beside a two-stage baseline.

`vlp-fast bench latency`. One picture and 16 words at a time, as in section 4.5 of SOHO's paper and
sections 5.5 and 5.7 of E2E-VLP's, whose factors are printed beside those that were measured. The
baseline is what both papers call two-stage: the detector of bottom-up attention, of torchvision's
parts, and a Transformer over 100 of its boxes. All weights are random. Before anything is timed
the stages say that they make what they should.

    baseline.py       the two-stage baseline as a system
    bench.py          vlp-fast bench latency
    claims.py         the papers' factors beside those of the rows
    class_nms.py      from the scores of all classes to the boxes that are kept, in three ways
    drawn.py          objects of a picture, for scores of the shape that a trained detector's have
    figures.py        from what was measured to rows of the ledger, and to lines for a person
    ours.py           E2E-VLP and SOHO as systems
    passes.py         systems take turns, stage after stage on the clock
    plan.py           who is measured, on pictures of which size
    region_reader.py  the Transformer over words and boxes
    request.py        what can be asked for
    system.py         stages, and ways to go on from them
    two_stage.py      the detector by stages
"""
