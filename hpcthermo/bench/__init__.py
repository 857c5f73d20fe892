"""``hpcthermo bench``: atom-step/s of a potential on a structure, where the time goes, and how far from the peak.

``case`` options -> what is measured; ``measured_engine`` set-up: an engine that knows how long its rebuilds take;
``stages`` timed steps, and their seconds by stage; ``report`` measurement -> the JSON object; ``prediction``
measurement -> larger numbers of ranks; ``text`` the JSON object for people; ``provenance`` the source, machine and
memory that figures belong to.
"""
