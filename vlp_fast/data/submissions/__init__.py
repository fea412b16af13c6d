"""Files of answers for servers and official scripts: complete, checked, whole or not there.

Ids are those of the annotation files, pictures or not: `read_questions`, `read_statements` and
`read_hypotheses` give them.

captions.py        the json of COCO's caption server
coco_detection.py  boxes for COCO's server
complete.py        every example once
json_list.py       a list of ids and answers
nlvr2.py           CSV lines for the official script
snli_ve.py         JSON lines by pairID
vqa.py             the json of the VQA server
"""
