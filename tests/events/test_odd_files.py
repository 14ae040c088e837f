"""Annotation files that no tool's manual describes but people have; docs/guides/odd-files.md lists them."""
import json
import pathlib

import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.formats.catalogue import read_annotations

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "guides" / "odd-files.md"
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
BIRDNET = "Start (s),End (s),Scientific name,Common name,Confidence,File"
HEADER = "filename,onset,offset,event_label\n"
DOG, CAT = (0.5, 1.0, "dog"), (2.0, 3.0, "cat")
REGION = {"id": "r1", "from_name": "label", "to_name": "audio", "type": "labels",
          "value": {"start": 0.5, "end": 1.0, "channel": 0, "labels": ["dog"]}}
VIDEO = {"from_name": "box", "to_name": "video", "type": "videorectangle",
         "value": {"labels": ["dog"], "sequence": [{"frame": 1, "time": 0.1}], "framesCount": 100, "duration": 10}}
SHORT = '"TextGrid"\n0\n2\n<exists>\n1\n"IntervalTier"\n"x"\n0\n2\n2\n0\n0.5\n""\n0.5\n1.0\n"dog"\n'
ELAN_UNITS = "hh:mm:ss.ms", "ss.msec", "msec"


def task(*regions, **fields):
    return json.dumps([{"data": {"audio": "a.wav"}, "annotations": [{"result": list(regions)}]} | fields])


# name: file name, its text, and its events by recording
READ = {
    # times
    "hours, minutes and seconds": ("a.csv", "onset,offset,label\n00:00:00.500,0:00:01,dog\n1:02:03,1:02:04.5,cat\n",
                                   {"a": [DOG, (3723.0, 3724.5, "cat")]}),
    "minutes and seconds": ("a.txt", "0:00,5\t0:01,0\tdog\n75:30,0\t75:31,0\tcat\n",
                            {"a": [DOG, (4530.0, 4531.0, "cat")]}),
    "milliseconds by the header": ("a.csv", "start_ms,End (msec),label\n500,1000,dog\n2000,3000,cat\n",
                                   {"a": [DOG, CAT]}),
    "seconds, and milliseconds of duration": ("a.csv", "file;start (s);duration (ms);label\na.wav;0,5;500;dog\n",
                                              {"a.wav": [DOG]}),
    "times that arithmetic made wrong": ("a.txt", "-1.1e-17\t1\tdog\n3.0000000000000004\t3\tcat\n-0.0\t1\train\n",
                                         {"a": [(0.0, 1.0, "dog"), (3.0000000000000004,) * 2 + ("cat",),
                                                (0.0, 1.0, "rain")]}),
    # headers
    "German headers": ("a.csv", "Datei;Startzeit (Sek.);Dauer (Sek.);Klasse\na.wav;0,5;0,5;dog\n", {"a.wav": [DOG]}),
    "blanks and capitals in headers": ("a.csv", " File Name , ONSET , Offset , Event Label \na.wav, 0.5 , 1.0 , dog \n",
                                       {"a.wav": [DOG]}),
    "camel case": ("a.csv", "fileName,startTime,endTime,eventLabel\na.wav,0.5,1.0,dog\n", {"a.wav": [DOG]}),
    "Praat's table of intervals": ("a.csv", "tmin,tier,text,tmax\n0.5,x,dog,1.0\n", {"a": [DOG]}),
    "crowsetta's table": ("all.csv", "label,onset_s,offset_s,onset_sample,offset_sample,notated_path,annot_path,"
                          "sequence,annotation\ndog,0.5,1.0,4000,8000,a.wav,a.txt,0,0\n", {"a.wav": [DOG]}),
    "Kaleidoscope's identifications": ("id.csv", "INDIR,FOLDER,IN FILE,OFFSET,DURATION,AUTO ID,MANUAL ID\n"
                                       "C:\\r,,a.wav,0.5,0.5,dog,\n", {"a.wav": [DOG]}),
    "pandas' index": ("all.csv", f",{HEADER}0,a.wav,0.5,1.0,dog\n1,a.wav,2,3,cat\n", {"a.wav": [DOG, CAT]}),
    "R's names of rows": ("all.txt", '"filename" "onset" "offset" "event_label"\n"1" "a.wav" 0.5 1 "dog"\n'
                          '"7" "b.wav" NA NA NA\n', {"a.wav": [DOG], "b.wav": []}),
    "a header that comes again in another order": ("all.csv", f"{HEADER}a.wav,0.5,1.0,dog\n\ufeffFilename,Label,Onset,"
                                                   "Offset\nb.wav,cat,2,3\n".replace("Label", "Event_Label"),
                                                   {"a.wav": [DOG], "b.wav": [CAT]}),
    # comments, and nothing
    "comments": ("a.txt", "# annotated by me, \"carefully\"\n0.5\t1.0\tdog\n\n# the end\n", {"a": [DOG]}),
    "a header behind a comment's sign": ("a.txt", "# onset offset label\n0.5 1.0 dog\n", {"a": [DOG]}),
    "prose of a comment that sounds like a header": ("a.txt", "# the start and end of each label\n0.5\t1.0\tdog\n",
                                                     {"a": [DOG]}),
    "names and labels with the comments' sign": ("all.csv", f"{HEADER}#1.wav,0.5,1.0,#2\n#2.wav,,,\n",
                                                 {"#1.wav": [(0.5, 1.0, "#2")], "#2.wav": []}),
    "words for nothing": ("all.csv", f"{HEADER}a.wav,0.5,1.0,dog\nb.wav,nan,nan,nan\nc.wav,NA,NA,\nd.wav,None,None,x\n"
                          .replace("x", "null"), {"a.wav": [DOG], "b.wav": [], "c.wav": [], "d.wav": []}),
    # letters
    "bars between fields": ("a.csv", "onset|offset|label\n0,5|1,0|dog\n", {"a": [DOG]}),
    "tabs and blanks mixed": ("a.txt", "0.5 1.0\tdog\n2\t3\tcat\n", {"a": [DOG, CAT]}),
    "columns filled up with blanks": ("a.txt", "   0.5    1.0   dog\n  12.5   13.0   cat\n",
                                      {"a": [DOG, (12.5, 13.0, "cat")]}),
    "UTF-32": ("a.csv", "onset,offset,label\n0.5,1.0,dog\n".encode("utf-32"), {"a": [DOG]}),
    "zeros behind the end": ("a.csv", b"onset,offset,label\r\n0.5,1.0,dog\r\n" + bytes(100), {"a": [DOG]}),
    "the end of DOS": ("a.txt", "0.5\t1.0\tdog\r\n\x1a", {"a": [DOG]}),
    "letters that nobody sees": ("a.txt", "0.5\t1.0\tdog\u200b\n2\t3\t\u200ecat\n", {"a": [DOG, CAT]}),
    "letters of two parts": ("all.csv", f"{HEADER}u\u0308.wav,0.5,1.0,Hu\u0308ndin\n\u00fc.wav,2,3,H\u00fcndin\n",
                             {"\u00fc.wav": [(0.5, 1.0, "H\u00fcndin"), (2.0, 3.0, "H\u00fcndin")]}),
    "an emoji of several parts": ("a.txt", "0.5\t1.0\t\U0001f415\u200d\U0001f9ba\n",
                                  {"a": [(0.5, 1.0, "\U0001f415\u200d\U0001f9ba")]}),
    "paths of Windows": ("all.csv", f"{HEADER}C:\\rec\\a.wav,0.5,1.0,dog\n", {"C:\\rec\\a.wav": [DOG]}),
    # Raven, ELAN, Kaleidoscope
    "Raven's views and channels": ("a.txt", f"{RAVEN}\tAnnotation\n" + "".join(
        f"1\t{view} 1\t{channel}\t0.5\t1\t0\t2\tdog\n" for channel in "12" for view in ("Waveform", "Spectrogram")),
        {"a": [DOG]}),
    "Raven's tables one behind the other": ("a.txt", f"{RAVEN}\tAnnotation\n1\tW\t1\t0.5\t1\t0\t2\tdog\n"
                                            f"{RAVEN}\tAnnotation\n1\tW\t1\t2\t3\t0\t2\tcat\n", {"a": [DOG, CAT]}),
    "numbers in Raven's first column of labels": ("a.txt", f"{RAVEN}\tAnnotation\tSpecies\n1\tW\t1\t0.5\t1\t0\t2\t3\t"
                                                  "dog\n", {"a": [DOG]}),
    "ELAN's tab-delimited text": ("a.txt", "animals\t\t00:00:00.500\t00:00:01.000\t00:00:00.500\tdog\n"
                                  "animals\tme\t00:00:02.000\t00:00:03.000\t00:00:01.000\tcat\n", {"a": [DOG, CAT]}),
    "ELAN's times in three units": ("a.txt", "\t".join([
        "Tier", *(f"Begin Time - {unit}" for unit in ELAN_UNITS), *(f"End Time - {unit}" for unit in ELAN_UNITS),
        "Annotation"]) + "\nx\t00:00:00.500\t0.5\t500\t00:00:01.000\t1.0\t1000\tdog\n", {"a": [DOG]}),
    "BirdNET's tables one behind the other": ("all.csv", f"{BIRDNET}\n0.5,1,C l,dog,0.9,a.wav\n{BIRDNET}\n"
                                              "0,3,nocall,nocall,1,b.wav\n", {"a.wav": [DOG], "b.wav": []}),
    # TextGrid
    "TextGrid of an old Praat": ("a.TextGrid", 'File type = "ooTextFile short"\n' + SHORT, {"a": [DOG]}),
    "TextGrid of an old Mac": ("a.TextGrid", ('File type = "ooTextFile"\n' + SHORT).replace("\n", "\r"), {"a": [DOG]}),
    "TextGrid by another name": ("a.txt", ('File type = "ooTextFile"\n' + SHORT).encode("utf-16"), {"a": [DOG]}),
    # Label Studio
    "Label Studio's CSV": ("a.csv", 'audio,id,label,annotator\n/data/upload/1/a.wav,1,"[{""start"": 0.5, ""end"": 1.0, '
                           '""channel"": 0, ""labels"": [""dog""]}]",1\nb.wav,2,,1\n',
                           {"/data/upload/1/a.wav": [DOG], "b.wav": []}),
    "Label Studio's remarks on a region": ("a.json", task(
        {"id": "r1", "type": "choices", "from_name": "quality", "value": {"start": 0.5, "end": 1.0,
                                                                         "choices": ["good"]}},
        REGION, {"id": "r1", "type": "textarea", "from_name": "text", "value": {"start": 0.5, "end": 1.0,
                                                                              "text": ["woof"]}}), {"a.wav": [DOG]}),
    "a cancelled annotation": ("a.json", task(annotations=[{"result": [VIDEO], "was_cancelled": True},
                                                           {"result": [REGION]}]), {"a.wav": [DOG]}),
    "no result": ("a.json", task(annotations=[{}]), {"a.wav": []}),
}


@pytest.mark.parametrize("name, text, expected", READ.values(), ids=READ)
def test_odd_files_are_read(name, text, expected, tmp_path):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    _, annotations = read_annotations(path)
    assert {annotation.recording: list(annotation.events) for annotation in annotations} == expected


# name: file name, its text, what the error says of the place, and of what is wrong
REFUSED = {
    "samples": ("a.csv", "start_sample,end_sample,label\n500,1000,dog\n", ", line 1", "seconds or milliseconds"),
    "a header of unknown words": ("a.csv", "d\u00e9but;fin;\u00e9tiquette\n0,5;1,0;chien\n", ", line 1", "header with"),
    "two columns of onsets": ("a.csv", "start,onset,offset,label\n0,0.5,1,dog\n", ", line 1", "one column of each"),
    "one column of onsets twice": ("a.csv", "onset,onset,offset,label\n0,0.5,1,dog\n", ", line 1", "one column of"),
    "a column of labels by an unknown name": ("a.csv", "onset,offset,name\n0.5,1,dog\n", ", line 1", "--label-column"),
    "other columns in the middle": ("all.csv", f"{HEADER}a.wav,0.5,1.0,dog\nfilename,onset,duration,event_label\n"
                                    "b.wav,2,1,cat\n", ", line 3", "the columns of"),
    "seconds of a minute above 59": ("a.txt", "0:75\t1:80\tdog\n", ", line 1", "0:75"),
    "frames of a video": ("a.txt", "00:00:01:12\t00:00:02:00\tdog\n", ", line 1", "00:00:01:12"),
    "dates": ("a.csv", "start,end,label\n2020-01-01 10:00:00,2020-01-01 10:00:05,dog\n", ", line 2", "2020-01-01"),
    "seconds with their unit": ("a.txt", "0.5s\t1.0s\tdog\n", ", line 1", "0.5s"),
    "an endless event": ("a.csv", "onset,offset,label\n0,inf,dog\n", ", line 2", "offset inf"),
    "half of an event": ("all.csv", f"{HEADER}a.wav,0.5,NA,dog\n", ", line 2", "NA"),
    "offset before onset": ("a.txt", "0.5\t1.0\tdog\n3\t2\tcat\n", ", line 2", "onset <= offset"),
    "a sum below the table": ("a.csv", "onset,offset,label\n0.5,1.0,dog\nTotal,,1\n", ", line 3", "Total"),
    "a remark behind a label": ("a.txt", "0.5\t1.0\tdog\t# far\n", ", line 1", "# far"),
    "points of thousands": ("a.txt", f"{RAVEN}\tAnnotation\n1\tW\t1\t1.234,5\t1.235,0\t0\t2\tdog\n", ", line 2",
                            "1.234,5"),
    "Raven without labels": ("a.txt", f"{RAVEN}\n1\tW\t1\t0.5\t1.0\t0\t2\n", ", line 1", "--label-column"),
    "labels before the times": ("a.txt", "dog\t0.5\t1.0\n", ", line 1", "dog, 0.5, 1.0"),
    "subtitles": ("a.txt", "1\n00:00:00,500 --> 00:00:01,000\ndog\n", ", line 1", "expected onset, offset"),
    "Markdown": ("a.txt", "| onset | offset | label |\n|---|---|---|\n| 0.5 | 1.0 | dog |\n", ", line 2", "---"),
    "XML of ELAN": ("a.txt", '<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT/>\n', ", line 1", "<?xml"),
    "a page in place of a file": ("a.csv", "<html>404</html>\n", ", line 1", "<html>"),
    "a workbook of Excel": ("a.csv", b"PK\3\4\x14\0\6\0" + bytes(range(256)), "", "Save it as CSV"),
    "a binary TextGrid": ("a.TextGrid", b"ooBinaryFile\x08TextGrid" + bytes(30), "", "Save it as text file"),
    "a TextGrid among others": ("a.TextGrid", 'File type = "ooTextFile"\nObject class = "Collection"\n', ", line 2",
                                '"TextGrid"'),
    "a region without a label": ("a.json", task({"type": "audio", "value": {"start": 2, "end": 3}}), ", task 1",
                                 "a label of the region from 2 s"),
    "rectangles in a video": ("a.json", task(VIDEO), ", task 1", "--label-column"),
    "half of a region in a cell": ("a.csv", 'audio,label\na.wav,"[{""start"": 0.5, ""end"": "\n', ", line 2",
                                   "regions of Label Studio"),
    "several annotators": ("a.json", task(annotations=[{"result": [REGION]}] * 2), ", task 1", "ground truth"),
    "JSON of JAMS": ("a.json", '{"annotations": [{"namespace": "segment", "data": []}]}', ", task 1", "audio file"),
}


@pytest.mark.parametrize("name, text, place, words", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_told_with_its_place(name, text, place, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        read_annotations(path)
    assert str(error.value).startswith(f"{path}{place}: expected ") and words in str(error.value)


def test_a_tag_among_regions_that_are_no_sounds(tmp_path):
    (tmp_path / "a.json").write_text(task(VIDEO, REGION, {"id": "r2", "from_name": "quality", "type": "choices",
                                                          "value": {"start": 2, "end": 3, "choices": ["good"]}}))
    for tag, expected in (("label", (DOG,)), ("quality", ((2.0, 3.0, "good"),))):
        assert read_annotations(tmp_path / "a.json", label_column=tag)[1][0].events == expected


def test_a_tier_of_elan(tmp_path):
    (tmp_path / "a.txt").write_text("x\t\t0:00.5\t0:01.0\t0:00.5\tdog\ny\t\t0:02.0\t0:03.0\t0:01.0\tcat\n")
    assert read_annotations(tmp_path / "a.txt", label_column="y")[1][0].events == (CAT,)
    with pytest.raises(InputError, match="expected the tier z"):
        read_annotations(tmp_path / "a.txt", label_column="z")


def test_label_tracks_with_frequencies_and_tables_are_two_formats(tmp_path):
    (tmp_path / "a.txt").write_text("0.5\t1.0\tdog\n\\\t1.0\t2.0\n")
    (tmp_path / "b.txt").write_text("0.5\t1.0\tdog\n")
    assert read_annotations(tmp_path)[0] == "audacity"
    (tmp_path / "b.txt").write_text("onset\toffset\tlabel\n0.5\t1.0\tdog\n")
    with pytest.raises(InputError, match="expected files of one format. Received: audacity .* and sed_eval .*b.txt"):
        read_annotations(tmp_path)


def test_the_page_of_odd_files_lists_all():
    listed = PAGE.read_text("utf-8").splitlines()
    assert [name for name in (*READ, *REFUSED) if not any(line.startswith(f"| {name} |") for line in listed)] == []
