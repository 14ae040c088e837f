"""Annotation formats: files as other tools and people write them, read to events worked by hand; and written back."""
import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import COLUMNS, merge_events
from polysed_keras.events.formats.catalogue import (
    DETECTION_FORMATS,
    TABLE_FORMATS,
    read_annotations,
    write_detections,
    write_table,
)
from polysed_keras.events.formats.source import clean
from polysed_keras.events.formats.writing import Detected

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
BIRDNET = "Start (s),End (s),Scientific name,Common name,Confidence"
DOG = [(0.5, 1.0, "dog")]
LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 10.0 
tiers? <exists> 
size = 3 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "animals" 
        xmin = 0 
        xmax = 10.0 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 0.5 
            text = "" 
        intervals [2]:
            xmin = 0.5 
            xmax = 1.0 
            text = "a ""loud"" dog" 
        intervals [3]:
            xmin = 1.0 
            xmax = 10.0 
            text = "  " 
    item [2]:
        class = "TextTier" 
        name = "clicks" 
        xmin = 0 
        xmax = 10.0 
        points: size = 1 
        points [1]:
            number = 2.5 
            mark = "click" 
    item [3]:
        class = "IntervalTier" 
        name = "animals" 
        xmin = 0 
        xmax = 10.0 
        intervals: size = 1 
        intervals [1]:
            xmin = 0 
            xmax = 10.0 
            text = "rain
all day" 
'''
SHORT = '''File type = "ooTextFile"
"TextGrid"

0 ! the time 3 at which it begins
10.0
<exists>
1
"IntervalTier"
"animals"
0
10.0
2
0
0.5
""
0.5
1.0
"dog"
'''


def write_files(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def read(folder, texts, **arguments):
    """Return {recording: list of events} of files in a new folder."""
    _, annotations = read_annotations(write_files(folder / "annotations", texts), **arguments)
    return {annotation.recording: list(annotation.events) for annotation in annotations}


# name: files, and their events by recording
READ = {
    # R's write.table, Excel's tab-delimited text, pandas with tabs
    "quotes of write.table": ({"a.txt": '0.5\t1.25\t"dog"\n2\t3.5\t"rooster"\n', "b.txt": "1\t2\tdog\n"},
                              {"a": [(0.5, 1.25, "dog"), (2.0, 3.5, "rooster")], "b": [(1.0, 2.0, "dog")]}),
    "quotes and blanks of write.table": ({"a.txt": '0.5 1.25 "dog barking"\n2 3.5 rain\n'},
                                         {"a": [(0.5, 1.25, "dog barking"), (2.0, 3.5, "rain")]}),
    "quotes of Excel": ({"all.tsv": 'filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.25\t"speech, male"\n'
                                    'c.wav\t1\t2\t"a ""loud"" dog"\n'},
                        {"a.wav": [(0.5, 1.25, "speech, male")], "c.wav": [(1.0, 2.0, 'a "loud" dog')]}),
    "quotes that belong to the label": ({"a.txt": '0\t1\t"a" or "b"\n1\t2\t"car\n2\t3\t5" pipe\n'},
                                        {"a": [(0.0, 1.0, '"a" or "b"'), (1.0, 2.0, '"car'), (2.0, 3.0, '5" pipe')]}),
    "a quoted line break": ({"a.csv": 'onset,offset,label\n0,1,"dog\nbarking"\n2,3,cat\n'},
                            {"a": [(0.0, 1.0, "dog barking"), (2.0, 3.0, "cat")]}),
    "quoted everything": ({"a.csv": '"filename","onset","offset","event_label"\n"a.wav","0.5","1.0","dog"\n'},
                          {"a.wav": DOG}),
    # headers
    "start, end, label": ({"all.csv": "filename,start,end,label\na.wav,0.5,1.0,dog\nb.wav,1,2,dog\n"},
                          {"a.wav": DOG, "b.wav": [(1.0, 2.0, "dog")]}),
    "capitals and units": ({"all.csv": "File Name,Start Time (sec),End_Time_(sec),Class\na.wav,0.5,1.0,dog\n".replace(
        "File Name", "Audio File")}, {"a.wav": DOG}),
    "columns in another order": ({"a.csv": "label;confidence;end;start\ndog;0.9;1.0;0.5\n"}, {"a": DOG}),
    "onset and duration": ({"a.csv": "onset,duration,label\n0.5,0.5,dog\n"}, {"a": DOG}),
    "offset in the file and duration": ({"id.csv": "INDIR,FOLDER,IN FILE,OFFSET,DURATION,common_name\n"
                                                   "/r,,a.wav,0.5,0.5,dog\n"}, {"a.wav": DOG}),
    "a header that comes again": ({"all.csv": "filename,onset,offset,label\na.wav,0.5,1.0,dog\n"
                                              "filename,onset,offset,label\nb.wav,1,2,dog\n"},
                                  {"a.wav": DOG, "b.wav": [(1.0, 2.0, "dog")]}),
    "empty columns at the end": ({"a.csv": "onset,offset,label,,\n0.5,1.0,dog,,\n,,,,\n"}, {"a": DOG}),
    "Excel's hint": ({"a.csv": "sep=;\r\nonset;offset;label\r\n0,5;1,0;dog\r\n"}, {"a": DOG}),
    # numbers
    "decimal commas": ({"a.txt": "0,5\t1,25\tdog\n2,0\t3,5\trooster\n", "b.txt": "1\t2\tdog\n",
                        "c.txt": "0.5\t1.0\tdog\n"},
                       {"a": [(0.5, 1.25, "dog"), (2.0, 3.5, "rooster")], "b": [(1.0, 2.0, "dog")], "c": DOG}),
    "decimal commas and semicolons": ({"a.csv": "0,5;1,0;dog, large, brown\n"},
                                      {"a": [(0.5, 1.0, "dog, large, brown")]}),
    "quoted decimal commas": ({"a.csv": 'onset,offset,label\n"0,5","1,0",dog\n'}, {"a": DOG}),
    "decimal commas of a duration": ({"a.csv": "onset;duration;label\n0,5;0,5;dog\n"}, {"a": DOG}),
    "powers of ten": ({"a.txt": "5e-1\t1.0E+0\tdog\n"}, {"a": DOG}),
    # blanks
    "a tab at the end": ({"a.txt": "\ufeff0.5\t1.0\tdog  \t\r\n\r\n2.0\t3.0\t rooster\t\r\n"},
                         {"a": [(0.5, 1.0, "dog"), (2.0, 3.0, "rooster")]}),
    "several tabs": ({"a.txt": "0.5\t\t1.0\t\t\tdog\n2\t3\tcat\n"}, {"a": [*DOG, (2.0, 3.0, "cat")]}),
    "several tabs after a file name": ({"all.tsv": "filename\t\tonset\toffset\tevent_label\n".replace("\t\t", "\t")
                                        + "a.wav\t\t0.5\t1.0\tdog\nb.wav\n"}, {"a.wav": DOG, "b.wav": []}),
    "blanks that do not break": ({"a.txt": "0.5\t1.0\tdog\u00a0barking \n"}, {"a": [(0.5, 1.0, "dog barking")]}),
    "ends of lines of old Macs": ({"a.txt": "0.5\t1.0\tdog\r2\t3\tcat\r"}, {"a": [*DOG, (2.0, 3.0, "cat")]}),
    "files put one behind the other": ({"a.txt": "\ufeff0.5\t1.0\tdog\n\ufeff2\t3\tcat\n"},
                                       {"a": [*DOG, (2.0, 3.0, "cat")]}),
    # encodings
    "UTF-16 of Windows": ({"a.txt": "0.5\t1.0\tH\u00fcndin\r\n".encode("utf-16")}, {"a": [(0.5, 1.0, "H\u00fcndin")]}),
    "UTF-16 without a mark": ({"a.txt": "0.5\t1.0\tdog\n".encode("utf-16-le"),
                               "b.txt": "1\t2\tdog\n".encode("utf-16-be")},
                              {"a": DOG, "b": [(1.0, 2.0, "dog")]}),
    "names with decomposed letters": ({"a.csv": "file,start,end,label\nu\u0308.wav,0.5,1.0,dog\n\u00fc.wav,2,3,cat\n"},
                                      {"\u00fc.wav": [*DOG, (2.0, 3.0, "cat")]}),
    "decomposed letters": ({"a.txt": "0.5\t1.0\tHu\u0308ndin\n2\t3\tH\u00fcndin\n"},
                           {"a": [(0.5, 1.0, "H\u00fcndin"), (2.0, 3.0, "H\u00fcndin")]}),
    # Raven
    "an empty column of labels": ({"a.txt": f"{RAVEN}\tAnnotation\tSpecies\n"
                                            "1\tSpectrogram 1\t1\t0.5\t1.0\t0\t2\t\tdog\n"},
                                  {"a": DOG}),
    "Raven's decimal commas": ({"a.txt": f"{RAVEN}\tBegin File\tFile Offset (s)\tLabel\n"
                                         "1\tW\t1\t10,5\t11,0\t0\t9,5\ta.wav\t0,5\tdog\n"}, {"a.wav": DOG}),
    # BirdNET
    "BirdNET": ({"a.BirdNET.results.csv": f"{BIRDNET},File\n0.0,3.0,Canis lupus,Dog,0.9,/r/a.wav\n",
                 "b.BirdNET.results.csv": f"{BIRDNET}\n", "BirdNET_analysis_params.csv": "Overlap,Locale\n0.0,en\n"},
                {"/r/a.wav": [(0.0, 3.0, "Dog")], "b.BirdNET.results": []}),
    "BirdNET's nocall": ({"all.csv": f"{BIRDNET},File\n0.0,3.0,nocall,nocall,0.9,b.wav\n"
                                     "0,3,Canis lupus,Dog,0.9,a.wav\n"},
                         {"a.wav": [(0.0, 3.0, "Dog")], "b.wav": []}),
    "BirdNET for Kaleidoscope": ({"all.csv": "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,"
                                             "confidence\n/r,site,a.wav,3.0,3.0,Canis lupus,Dog,0.9\n"},
                                 {"a.wav": [(3.0, 6.0, "Dog")]}),
    "BirdNET for R": ({"all.csv": "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week\n"
                                  "/r/a.wav,0.0,3.0,Canis lupus,Dog,0.9,-1,-1,-1\n"},
                      {"/r/a.wav": [(0.0, 3.0, "Dog")]}),
    "BirdNET for Raven": ({"a.BirdNET.selection.table.txt":
                           f"{RAVEN}\tCommon Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)\n"
                           "1\tSpectrogram 1\t1\t0.5\t1.0\t0\t9\tdog\tdog1\t0.9\t/r/a.wav\t0.5\n"
                           "2\tSpectrogram 1\t1\t3\t6\t0\t9\tnocall\tnocall\t1.0\t/r/a.wav\t3\n"}, {"/r/a.wav": DOG}),
    "BirdNET for Audacity": ({"a.txt": "0.5\t1.0\tCanis lupus, Dog\t0.9000\n"},
                             {"a": [(0.5, 1.0, "Canis lupus, Dog")]}),
    # AudioSet and DCASE
    "AudioSet": ({"strong.tsv": "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
                                "b0RFKhbpFJA_30000\t0.500\t1.000\t/m/0bt9lr\nb0RFKhbpFJA_30000\t2\t3\t/m/07r04\n",
                  "mid_to_display_name.tsv": "/m/0bt9lr\tDog\n/m/07r04\tTruck\n"},
                 {"b0RFKhbpFJA_30000": [(0.5, 1.0, "Dog"), (2.0, 3.0, "Truck")]}),
    "AudioSet's absent events": ({"framed.tsv": "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent\n"
                                                "s4sFgNMzRdY_30000\t0.5\t1\t/m/0bt9lr\tPRESENT\n"
                                                "s5sFgNMzRdY_30000\t1\t2\t/m/0bt9lr\tNOT_PRESENT\n"},
                                 {"s4sFgNMzRdY_30000": [(0.5, 1.0, "/m/0bt9lr")], "s5sFgNMzRdY_30000": []}),
    "DCASE with an identifier": ({"meta.txt": "audio/a.wav\t0.5\t1.0\tdog\ta001\n"}, {"audio/a.wav": DOG}),
    "DCASE with an empty scene": ({"meta.txt": "a.wav\thome\t2\t3\tcat\na.wav\t\t0.5\t1.0\tdog\n"},
                                  {"a.wav": [(2.0, 3.0, "cat"), *DOG]}),
    "DCASE's bioacoustics": ({"a.csv": "Audiofilename,Starttime,Endtime,AGGM,MOSP\na.wav,0.5,1.0,POS,NEG\n"
                                       "a.wav,2,3,UNK,POS\n"}, {"a.wav": [(0.5, 1.0, "AGGM"), (2.0, 3.0, "MOSP")]}),
    "DCASE's bioacoustics of one class": ({"a.csv": "Audiofilename,Starttime,Endtime,Q\na.wav,0.5,1.0,POS\n"},
                                          {"a.wav": [(0.5, 1.0, "Q")]}),
    "numbers as names and labels": ({"all.csv": "12,0.5,1.0,7\n"}, {"12": [(0.5, 1.0, "7")]}),
    # TextGrid
    "TextGrid": ({"a.TextGrid": LONG}, {"a": [(0.0, 10.0, "rain all day"), (0.5, 1.0, 'a "loud" dog'),
                                              (2.5, 2.5, "click")]}),
    "short TextGrid": ({"a.textgrid": SHORT}, {"a": DOG}),
    "TextGrid in UTF-16": ({"a.TextGrid": b"\xfe\xff" + SHORT.replace("dog", "H\u00fcndin").encode("utf-16-be")},
                           {"a": [(0.5, 1.0, "H\u00fcndin")]}),
    "TextGrid without tiers": ({"a.TextGrid": 'File type = "ooTextFile"\n"TextGrid"\n0\n1\n<absent>\n',
                                "b.TextGrid": SHORT},
                               {"a": [], "b": DOG}),
}


@pytest.mark.parametrize("texts, expected", READ.values(), ids=READ)
def test_files_that_people_have(texts, expected, tmp_path):
    assert read(tmp_path, texts) == expected


MANUAL = {"original_length": 98.4, "id": "wavesurfer_1", "origin": "manual", "from_name": "label", "to_name": "audio",
          "type": "labels", "value": {"start": 0.5, "end": 1.0, "channel": 0, "labels": ["dog"]}}
# Files as the tools themselves write them, with all that they put into them.
TOOLS = {
    "Raven Pro": ("a.Table.1.selections.txt", f"{RAVEN}\tDelta Time (s)\tBegin Path\tBegin File\tFile Offset (s)\t"
                  "Annotation\r\n" + "".join(f"1\t{view} 1\t1\t0.500000000\t1.000000000\t0.000\t4000.000\t0.5000\t"
                                           "C:\\rec\\a.wav\ta.wav\t0.5000\tdog\r\n"
                                           for view in ("Waveform", "Spectrogram"))),
    "Audacity": ("a.txt", "0.500000\t1.000000\tdog\n\\\t1378.125000\t5512.500000\n"),
    "Audacity, frequencies half open": ("a.txt", "0.500000\t1.000000\tdog\n\\\t-1.000000\t5512.500000\n"),
    "Praat, long": ("a.TextGrid", LONG[:LONG.index("    item [2]")].replace("size = 3 \nitem", "size = 1 \nitem")
                    .replace('a ""loud"" dog', "dog")),
    "Praat, short": ("a.TextGrid", b"\xfe\xff" + SHORT.replace(" ! the time 3 at which it begins", "").replace(
        '"TextGrid"', 'Object class = "TextGrid"').encode("utf-16-be")),
    "Label Studio": ("project-1-at-2024-01-01.json", json.dumps([{
        "id": 1, "annotations": [{"id": 1, "completed_by": 1, "result": [MANUAL], "was_cancelled": False,
                                  "ground_truth": False, "lead_time": 20.5, "prediction": {}, "result_count": 1}],
        "file_upload": "0a1b2c3d-a.wav", "drafts": [], "predictions": [], "meta": {}, "inner_id": 1, "project": 1,
        "total_annotations": 1, "data": {"audio": "/data/upload/1/0a1b2c3d-a.wav"}}])),
    "BirdNET, CSV": ("a.BirdNET.results.csv", f"\ufeff{BIRDNET},File,lat,lon,week,overlap,sensitivity,min_conf\n"
                     "0.5,1.0,Canis lupus,dog,0.9237,/rec/a.wav,52.0,13.0,20,0.0,1.0,0.25\n"),
    "BirdNET, selection table": ("a.BirdNET.selection.table.txt", f"{RAVEN}\tCommon Name\tSpecies Code\tConfidence\t"
                                 "Begin Path\tFile Offset (s)\n1\tSpectrogram 1\t1\t0.5\t1.0\t0\t15000\tdog\tcanlup\t"
                                 "0.9237\t/rec/a.wav\t0.5\n"),
}


@pytest.mark.parametrize("name, content", TOOLS.values(), ids=TOOLS)
def test_files_as_their_tools_write_them(name, content, tmp_path):
    (annotation, events), = read(tmp_path, {name: content}).items()
    assert events == DOG and annotation.replace("\\", "/").rpartition("/")[2] in (
        "a", "a.wav", "0a1b2c3d-a.wav", "a.Table.1.selections", "a.BirdNET.results")


HEADERS = (["filename", "onset", "offset", "event_label"], ["File", "Start (s)", "End (s)", "Class"],
           ["audio_file", "begin time", "stop", "Species"], None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", HEADERS, ids=str)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["minimal", "all"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("separator", ["\t", ";", ","])
def test_every_way_in_which_pandas_writes_a_table(separator, decimal, quoting, header, encoding, tmp_path):
    labels = ("speech, male", "rain; heavy", 'a "loud" dog', "H\u00fcndin", "1,5", "to", "car")
    events = random_events(4, labels).drop(columns="confidence")
    events.insert(0, "filename", np.resize(["a.wav", "site 1/b, c.wav"], len(events)))
    events.to_csv(tmp_path / "all.csv", index=False, sep=separator, decimal=decimal, quoting=quoting, encoding=encoding,
                  header=header or False)
    _, annotations = read_annotations(tmp_path / "all.csv")
    assert {annotation.recording: list(annotation.events) for annotation in annotations} == {
        name: list(rows[COLUMNS].itertuples(index=False, name=None)) for name, rows in events.groupby("filename")}


# name: a file, the line that is wrong, and a word that says what
REFUSED = {
    "no label": ("a.txt", "0.000000\t2.728952\n2.728952\t8.256069\n", "line 1", "label ''"),
    "no label later": ("a.txt", "0.5\t1.0\tdog\n2.0\t3.0\t\n", "line 2", "label ''"),
    "a label forgotten": ("a.txt", f"{RAVEN}\tAnnotation\tType\n1\tW\t1\t0.5\t1.0\t0\t2\tdog\tcall\n"
                                   "2\tW\t1\t2\t3\t0\t2\t\tcall\n", "line 3", "label ''"),
    "negative": ("a.txt", "-0.01\t1.0\tdog\n", "line 1", "onset -0.01"),
    "point and comma": ("a.txt", "0.5\t1.0\tdog\n\n1,5\t2,0\tdog\n", "line 3", "1,5 and 2,0"),
    "thousands": ("a.txt", "1,000.5\t1,001.0\tdog\n", "line 1", "1,000.5"),
    "decimal commas between commas": ("a.csv", "0,5,1,25,dog\n", "line 1", "decimal commas"),
    "underscores": ("a.txt", "1_0\t2_0\tdog\n", "line 1", "1_0"),
    "no end": ("a.csv", "filename,onset,label\na.wav,500,dog\n", "line 1", "offset (or duration)"),
    "one field too many": ("a.csv", "onset,offset,label\n0.5,1.0,dog, barking\n", "line 2", "3 fields"),
    "a label of two words": ("a.txt", "0.5 1.0 dog\n0.5 1.0 dog barking\n", "line 2", "3 fields"),
    "labels of two words": ("a.txt", "a.wav 0.5 1.0 dog barking\n", "line 1", "1.0, dog, barking"),
    "labels with a number": ("a.txt", "0.5 1.0 dog 2\n", "line 1", "1.0, dog, 2"),
    "a remark in a column": ("a.txt", "0.5\t1.0\tdog\tfar\n", "line 1", "1.0, dog, far"),
    "an open quote": ("a.csv", 'onset,offset,label\n0.5,1.0,cat\n0.5,1.0,"dog\n1,2,cat\n', "line 3", "quotes"),
    "frames of SELD": ("a.csv", "1,5,0,50,30\n", "line 1", "expected"),
    "Latin letters": ("a.txt", "0\t1\tcat\n0\t1\tH\u00fcndin\n".encode("latin-1"), "line 2", "windows-1252"),
    "no class": ("a.csv", "Audiofilename,Starttime,Endtime,Q\na.wav,0.5,1.0,POS\na.wav,2,3,MAYBE\n", "line 3",
                 "POS, NEG or UNK"),
    "no audio format": ("a.txt", "Audiofilename\n", "line 1", "strong labels"),
    "half a TextGrid": ("a.TextGrid", LONG[:LONG.index("text = \"a")], "line 21", "the end of the file"),
    "a TextGrid with words for numbers": ("a.TextGrid", SHORT.replace("0.5\n1.0", "half\n1.0"), "line 18", "a number"),
    "a chronological TextGrid": ("a.TextGrid", '"Praat chronological TextGrid text file"\n0 1\n', "line 1",
                                 "ooTextFile"),
    "backwards in a TextGrid": ("a.TextGrid", SHORT.replace("0.5\n1.0", "1.5\n1.0"), "line 17", "onset <= offset"),
    "half of JSON": ("a.json", '[{"data": {"audio": "a.wav"},\n', "line 2", "Label Studio"),
    "JSON of another kind": ("a.json", '[{"data": {"audio": "a.wav"}, "annotations": [{"result": [1]}]}]', "task 1",
                             "as Label Studio exports it"),
    "no seconds": ("a.json", '[{"data": {"audio": "a.wav"}, "annotations": [{"result": [{"value": {"start": null, '
                             '"end": 1, "labels": ["dog"]}}]}]}]', "task 1", "as Label Studio exports it"),
    "no audio": ("a.json", '[{"data": {"text": "x"}, "annotations": [{"result": []}]}]', "task 1", "audio file"),
}


@pytest.mark.parametrize("name, text, place, words", REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_named_with_its_line_though_no_format_is_given(name, text, place, words, tmp_path):
    path = write_files(tmp_path, {name: text}) / name
    with pytest.raises(InputError) as error:
        read_annotations(path)
    assert str(error.value).startswith(f"{path}, {place}: ") and words in str(error.value)


def test_a_column_of_labels_by_its_name(tmp_path):
    table = {"a.txt": f"{RAVEN}\tAnnotation\tCall type\n1\tW\t1\t0.5\t1.0\t0\t2\tdog\tbark\n"}
    assert read(tmp_path, table) == {"a": DOG}
    assert read(tmp_path, table, label_column="call type") == {"a": [(0.5, 1.0, "bark")]}
    with pytest.raises(InputError, match="line 1: expected the column age. Received: .*Call type"):
        read(tmp_path, table, label_column="age")
    assert read(tmp_path / "grid", {"a.TextGrid": LONG}, label_column="clicks") == {"a": [(2.5, 2.5, "click")]}
    with pytest.raises(InputError, match="expected the tier age. Received: 'animals, clicks, animals'"):
        read(tmp_path / "grid", {}, label_column="age")


def test_an_encoding_is_for_files_that_are_not_in_unicode(tmp_path):
    texts = {"a.txt": "0.5\t1.0\tH\u00fcndin\n".encode("cp1252"), "b.txt": "0.5\t1.0\tH\u00fcndin\n"}
    assert read(tmp_path, texts, encoding="windows-1252") == {"a": [(0.5, 1.0, "H\u00fcndin")],
                                                              "b": [(0.5, 1.0, "H\u00fcndin")]}
    with pytest.raises(InputError, match="line 1: expected text in klingon"):
        read(tmp_path, texts, encoding="klingon")


def region(start, end, *labels, **settings):
    return {"from_name": "label", "to_name": "audio", "type": "labels",
            "value": {"start": start, "end": end, "channel": 0, "labels": list(labels)}} | settings


def task(audio, *annotations, **fields):
    return {"id": 1, "data": {"audio": audio}, "annotations": list(annotations)} | fields


def test_an_export_of_label_studio(tmp_path):
    choice = {"from_name": "quality", "to_name": "audio", "type": "choices", "value": {"choices": ["good"]}}
    relation = {"type": "relation", "from_id": "x", "to_id": "y", "direction": "right"}
    tasks = [task("/data/upload/3/0a1b2c3d-a%20b.wav", {"result": [region(2, 3.5, "dog", "cat"), choice, relation,
                                                                   region(0.5, 1, "rain")]}),
             task("/data/local-files/?d=site%201/c.flac", {"result": []}),
             task("s3://bucket/d.mp3", {"result": [region(0, 1, "no")]},
                  {"result": [region(0.5, 1, "dog")], "ground_truth": True},
                  {"result": [region(0.5, 1, "x")], "was_cancelled": True, "ground_truth": True}),
             task("e.wav", predictions=[{"result": [region(0, 1, "guess")]}])]
    found = read(tmp_path, {"export.json": json.dumps(tasks), "import.json": '{"format": "raven"}'})
    assert found == {"/data/upload/3/0a1b2c3d-a b.wav": [(0.5, 1.0, "rain"), (2.0, 3.5, "cat"), (2.0, 3.5, "dog")],
                     "site 1/c.flac": [], "/d.mp3": DOG}
    twice = [task("a.wav"), task("a.wav", {"result": []}, {"result": []})]
    with pytest.raises(InputError, match="task 2: expected one annotation, or .* ground truth. Received: 2"):
        read(tmp_path / "twice", {"export.json": json.dumps(twice)})


def test_the_short_export_of_label_studio(tmp_path):
    tasks = [{"id": 1, "audio": "/data/upload/3/0a1b2c3d-a.wav", "annotator": 1, "created_at": "2024-01-01",
              "label": [{"start": 0.5, "end": 1.0, "channel": 0, "labels": ["dog"]}]}]
    assert read(tmp_path, {"export.json": json.dumps(tasks)}) == {"/data/upload/3/0a1b2c3d-a.wav": DOG}


def random_events(seed, labels=("dog", "speech, male", 'a "loud" H\u00fcndin')):
    """Return events on a grid of 20 ms, as a detector finds them, without overlaps of one label."""
    rng = np.random.default_rng(seed)
    onsets = rng.integers(0, 400, 12) * 0.02
    events = pd.DataFrame({"onset": onsets, "offset": onsets + rng.integers(1, 60, 12) * 0.02,
                           "event_label": rng.choice(labels, 12)})
    return merge_events(events).assign(confidence=lambda frame: rng.random(len(frame)))


def assert_same(read_back, events):
    back = merge_events(pd.DataFrame(read_back, columns=COLUMNS))
    pd.testing.assert_frame_equal(back, merge_events(events), atol=2e-6, check_dtype=False)


@pytest.mark.parametrize("given", [True, False], ids=["given", "found_out"])
@pytest.mark.parametrize("format", DETECTION_FORMATS)
def test_what_is_written_is_read_back(format, given, tmp_path):
    for seed in range(5):
        events, path = random_events(seed), tmp_path / f"a{DETECTION_FORMATS[format]}"
        write_detections(Detected(events, "recordings/a.wav", 10.0), path, format)
        _, (annotation,) = read_annotations(path, format if given else None)
        assert annotation.recording in ("a", "recordings/a.wav")
        assert_same(annotation.events, events)


LETTERS = [*"\"',;|# \t\n\v1.:-\\!=<>[{}%&ab", "\u00e9", "u\u0308", "\u65e5", "\U0001f415", "\u200b", "nan", "NA",
           "onset", "label", " 0.5 1.0 ", "0.5\t1"]


def random_labels(rng, number):
    """Labels of what separates, quotes, ends or looks like something else in one of the formats."""
    labels = ("".join(rng.choice(LETTERS, rng.integers(1, 7))) for _ in range(10 * number))
    return [label for label in labels if label.strip(" \t\n\v\u200b")][:number]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("format", DETECTION_FORMATS)
def test_labels_of_any_letters_come_back(format, seed, tmp_path):
    """Each as it is read everywhere: in composed letters, and with single blanks for tabs and ends of lines."""
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, 5)
    events = pd.DataFrame({"onset": np.arange(5.0), "offset": np.arange(5.0) + rng.integers(1, 4, 5) / 4,
                           "event_label": labels, "confidence": rng.random(5)})
    expected = list(zip(events.onset, events.offset, map(clean, labels)))
    path = tmp_path / f"a{DETECTION_FORMATS[format]}"
    for given in (format, None):
        write_detections(Detected(events, "a.wav", 10.0), path, format)
        assert list(read_annotations(path, given)[1][0].events) == expected
        if format in TABLE_FORMATS:
            write_table([Detected(events, "a.wav", 10.0), Detected(events[:2], "b.wav", 10.0)], path, format)
            first, second = read_annotations(path, given)[1]
            assert (list(first.events), list(second.events)) == (expected, expected[:2])


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_one_table_of_a_folder_is_read_back(format, number, tmp_path):
    found = [Detected(random_events(seed), f"site {seed}/a.wav", 10.0) for seed in range(number)]
    found[2:2] = [] if number == 1 else [Detected(random_events(0)[:0], "empty.wav", 10.0)]
    write_table(found, tmp_path / "table", format)
    _, annotations = read_annotations(tmp_path / "table")
    back = {annotation.recording: annotation.events for annotation in annotations}
    assert list(back) == [detected.audio for detected in found if format != "raven" or len(detected.events)]
    for detected in found:
        assert_same(back.get(detected.audio, ()), detected.events)


@pytest.mark.parametrize("format", ["audacity", "textgrid"])
def test_formats_of_one_recording_are_no_table(format, tmp_path):
    found = [Detected(random_events(seed), f"{seed}.wav", 10.0) for seed in range(2)]
    with pytest.raises(InputError, match="format: expected one of .*, which hold several recordings"):
        write_table(found, tmp_path / "table", format)


def test_a_selection_table_by_the_byte(tmp_path):
    events = pd.DataFrame([(0.5, 1.0, "dog", 0.75)], columns=[*COLUMNS, "confidence"])
    write_table([Detected(events, f"x/{name}.wav", 10.0, 4000.0) for name in "ab"],
                     tmp_path / "table.txt", "raven")
    assert (tmp_path / "table.txt").read_text() == (
        f"{RAVEN}\tBegin Path\tBegin File\tFile Offset (s)\tAnnotation\tConfidence\n"
        "1\tSpectrogram 1\t1\t0.500000\t1.000000\t0.000\t4000.000\tx/a.wav\ta.wav\t0.500000\tdog\t0.750000\n"
        "2\tSpectrogram 1\t1\t10.500000\t11.000000\t0.000\t4000.000\tx/b.wav\tb.wav\t0.500000\tdog\t0.750000\n")


def test_a_textgrid_covers_the_recording_without_gaps_as_praat_wants_it(tmp_path):
    events = random_events(3)
    write_detections(Detected(events, seconds=12.5), tmp_path / "a.TextGrid", "textgrid")
    header, *tiers = (tmp_path / "a.TextGrid").read_text().split("    item [")[0:]
    assert "xmin = 0\nxmax = 12.500000\ntiers? <exists>\nsize = 3\n" in header
    assert [re.search('name = "(.*)"', tier)[1].replace('""', '"') for tier in tiers] == sorted(set(events.event_label))
    for tier in tiers:
        begins, ends = ([float(time) for time in re.findall(rf"^ {{12}}{name} = (.*)$", tier, re.MULTILINE)]
                        for name in ("xmin", "xmax"))
        assert begins == [0.0, *ends[:-1]] and ends[-1] == 12.5
        assert f"intervals: size = {len(begins)}\n" in tier


def test_a_textgrid_of_nothing(tmp_path):
    write_detections(Detected(random_events(0)[:0], seconds=3.0), tmp_path / "a.TextGrid", "textgrid")
    assert read_annotations(tmp_path / "a.TextGrid")[1][0].events == ()
    assert '"events"' in (tmp_path / "a.TextGrid").read_text()


def test_events_of_one_label_that_overlap_get_two_tiers(tmp_path):
    events = pd.DataFrame([(0.0, 2.0, "dog"), (1.0, 3.0, "dog"), (2.0, 4.0, "dog")], columns=COLUMNS)
    write_detections(events, tmp_path / "a.TextGrid", "textgrid")
    assert "size = 2\nitem" in (tmp_path / "a.TextGrid").read_text()
    assert read_annotations(tmp_path / "a.TextGrid")[1][0].events == ((0.0, 2.0, "dog"), (1.0, 3.0, "dog"),
                                                                      (2.0, 4.0, "dog"))


def test_predictions_are_what_label_studio_imports(tmp_path):
    events = pd.DataFrame([(0.5, 1.0, "dog", 0.75)], columns=[*COLUMNS, "confidence"])
    write_detections(Detected(events, "site 1/\u00e4.wav"), tmp_path / "a.json", "label_studio")
    (found,) = json.loads((tmp_path / "a.json").read_text())
    assert found["data"] == {"audio": "/data/local-files/?d=site%201/%C3%A4.wav"}
    (result,) = found["predictions"][0]["result"]
    assert result["value"] == {"start": 0.5, "end": 1.0, "channel": 0, "labels": ["dog"]} and result["score"] == 0.75
    with pytest.raises(InputError, match="audio: expected the path"):
        write_detections(events, tmp_path / "a.json", "label_studio")
