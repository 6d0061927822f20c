"""# Tatoeba: English sentences and their Chinese translations

20,403 pairs that volunteers wrote, one per line, English, a tab, Chinese; sorted by length, the last without a line break. 19,862 English sentences are
distinct, 19,767 Chinese ones; on average 6.3 words and 9.9 characters, at most 33 and 44. An English sentence with several translations has a row for each:
the references of one test sentence.

Half of the rows hold characters of the traditional script, the rest is simplified, and nothing says which is which: the same word comes in two spellings. With
`script: simplified` the traditional characters that occur here are replaced one by one (869 of them; 乾 always becomes 干, as in 乾杯).

Splits go by the English sentence: a hash of it decides, one twentieth each for validation and test. So no English sentence is in two splits, which would
make a memory look like a translator. `index` is the row's place in the file, from 0.

The twin has the same format: 1,600 sentences of a small grammar. English says subject, verb, object, place and time, with `did not`, `will not` and
questions with `did`; Chinese the time and the place before the verb, a measure word between `this` and a noun that depends on the noun, 了 for what
is done and 没有 or 不会 for what is not: "Did my red dog draw this house at home yesterday?" – 我的红狗昨天在家画这座房子了吗？
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Literal

from pydantic import Field

from dlbooks.catalog import DataSet, Source
from dlbooks.datasets import _pairs
from dlbooks.params import DataSetParams

DATASET = DataSet(
    id="tatoeba-en-zh",
    title="Tatoeba, English and Chinese sentences",
    homepage="https://tatoeba.org",
    license="CC BY 2.0 FR",
    citation="Tatoeba: a collection of sentences and translations, https://tatoeba.org; selection by manythings.org/anki",
    files=[
        Source(
            urls=["https://raw.githubusercontent.com/jayeew/MachineTranslation-Transformer/914d92902a587a7e6af61984bc4c757378d76b57/cmn.txt"],
            sha256="d6f0916ed3f036b8e1ec37619136f0a0f7ad74a9561b4d48df7a157194c7bb6b",
            name="cmn.txt",
        )
    ],
)


class Params(DataSetParams):
    script: Literal["upstream", "simplified"] = "upstream"
    """Chinese as upstream has it, in two scripts, or all in the simplified one"""
    rows: int = Field(1_600, ge=100, le=20_000)
    """pairs of the twin"""


FEATURES = _pairs.features("en", "zh")
PARTS = 20  # of a hash: the first is the test split, the second validation

# Traditional → simplified, for the characters of the file; the first choice of OpenCC's table TSCharacters (Apache-2.0).
SCRIPTS = str.maketrans(
    "丟並乾亂亞佈佔來侖係倆倉個們倖倫偉偵偽傑傘備傢傳傷傾僕僱價儀億儉儘償優兇兌兒內兩冊凍凱別刪則剎剛創劃劇勁動務勝勞勢勵勸匯匱區協卹卻厭"
    "厲參叢員唸問啞喪喬單嗎嘗嘯噓嚇嚐嚨嚮嚴囑囪國圍園圓圖團執堅報場塊塗塢塵墊墜墳墻壓壘壞壯壽夠夢夥夾奧奮婦媽嬰嬸孫學宮寢實寧審寫寬寵寶將"
    "專尋對導尷屆屜層屬岡島峽崗巔師帳帶幣幫幹幾庫廁廚廟廠廢廣廳張強彈彌彎彙後徑從復徵徹恆恥悅悶惡愛態慣慫慮慶慾憂憐憑憤憶應懲懶懷懸懼戀戰"
    "戲戶拋挾捲掃掛採揀揚換揮損搖搶摑摯撐撥撫撲撿擁擇擊擋擔據擠擱擴擺擾攜攝攪攬敗敵數斷於時晉曆曉書會東柵桿條棄棟棲業極榮構槍樂樓標樣樹橋"
    "機橫檢檯檸櫃櫥櫻欄權欖歐歡歲歷歸殘殺毀毆氣氾決沒沖況洩涼淚淨淺減測渾湯準溝溫溼滅滾滿漢漲漸潑潔潛潤澆澤濃濕濟濫濱濺瀉瀏瀕灑灘灣災為烏"
    "無煙煩熱燈燒燙營爍爐爛爭爺爾牆牽犢狀猶獄獅獎獨獲獵獸獻現瑪環產産畝畢畫異當痠瘋瘧療癒癢發皺盜盡監盤眾睜瞞碩確碼磯礎礙祕禍禦禮禱禿稅種"
    "稱穌積穩穫窩窮竊競筆箏節築簡簽簾籃籌籠籬籲紀約紅紉紋納紐純紙級紡細紳紹終組絆結絕絡給統絲絶綁經綠維網綻綽緊緒線緝緣編緩練縫縮總績織繞"
    "繩繪繫繳繼續纔罰罵罷羅羨義習翹聖聞聯聰聲職聽聾肅脅脈脫脹腦腫腳腸膚膠膩膽臉臟臥臨臺與興舉舊艱茲莊華菸萊萬葉蒼蓋蔔蔥蔭蕭薦薩藍藝藥蘇蘋"
    "蘭蘿處虛號蠅蠣術衛裏補裝裡製複褲襪襯襲見規視親覺覽觀觸訂計訊討訓記訝訪設許訴診註評詞詢試詩話該詳誇誌認誕誘語誠誡誤說誰課誼調談請諒論"
    "諜諮諸諾謀謂謊謎謙講謝謠謬證識譜譯議護譽讀變讓讚豐豬貓貝負財貧貨販貪責貴買貸費貼賀賂賄資賊賜賞賠賣質賬賭賴賺購賽贈贊贏趕趨跡踐蹤車軌"
    "軍軟較載輕輛輟輩輪輯輸輾轉轟辦辭辯農這連週進遊運過達違遙遜遞遠適遲遷選遺還邊郵鄉鄰醜醫醬釋釘針釣釧鈅鈔鈕鈴鉛鉤銀銳銷鋒鋪鋸鋼錄錢錨錫"
    "錯錶鍊鍋鍾鎊鎖鎮鏡鏽鐘鐳鐵鑑鑰鑽長門閃閉開閒間閣閤閱闆闔闖關陣陰陸陽隊際隨險隱隸隻雖雙雜雞離難雲電霧靈靜靦韋韓響頁頂項順須預頑頓頗領"
    "頭頻顆題額顏願類顧顯風颱飛飢飪飯飲飽飾餅養餓餘餡館餵饑馬駐駕駛駿騎騙騰驅驕驗驚髒體髮鬆鬍鬥鬧鬱魚魯鮭鮮鯨鳥鳳鳴鴉鴕鴨鵝鵡鶴鷹鸚鹽麗麥"
    "麵麼黃點黨齊齒齡齦龍龐",
    "丢并干乱亚布占来仑系俩仓个们幸伦伟侦伪杰伞备家传伤倾仆雇价仪亿俭尽偿优凶兑儿内两册冻凯别删则刹刚创划剧劲动务胜劳势励劝汇匮区协恤却厌"
    "厉参丛员念问哑丧乔单吗尝啸嘘吓尝咙向严嘱囱国围园圆图团执坚报场块涂坞尘垫坠坟墙压垒坏壮寿够梦伙夹奥奋妇妈婴婶孙学宫寝实宁审写宽宠宝将"
    "专寻对导尴届屉层属冈岛峡岗巅师帐带币帮干几库厕厨庙厂废广厅张强弹弥弯汇后径从复征彻恒耻悦闷恶爱态惯怂虑庆欲忧怜凭愤忆应惩懒怀悬惧恋战"
    "戏户抛挟卷扫挂采拣扬换挥损摇抢掴挚撑拨抚扑捡拥择击挡担据挤搁扩摆扰携摄搅揽败敌数断于时晋历晓书会东栅杆条弃栋栖业极荣构枪乐楼标样树桥"
    "机横检台柠柜橱樱栏权榄欧欢岁历归残杀毁殴气泛决没冲况泄凉泪净浅减测浑汤准沟温湿灭滚满汉涨渐泼洁潜润浇泽浓湿济滥滨溅泻浏濒洒滩湾灾为乌"
    "无烟烦热灯烧烫营烁炉烂争爷尔墙牵犊状犹狱狮奖独获猎兽献现玛环产产亩毕画异当酸疯疟疗愈痒发皱盗尽监盘众睁瞒硕确码矶础碍秘祸御礼祷秃税种"
    "称稣积稳获窝穷窃竞笔筝节筑简签帘篮筹笼篱吁纪约红纫纹纳纽纯纸级纺细绅绍终组绊结绝络给统丝绝绑经绿维网绽绰紧绪线缉缘编缓练缝缩总绩织绕"
    "绳绘系缴继续才罚骂罢罗羡义习翘圣闻联聪声职听聋肃胁脉脱胀脑肿脚肠肤胶腻胆脸脏卧临台与兴举旧艰兹庄华烟莱万叶苍盖卜葱荫萧荐萨蓝艺药苏苹"
    "兰萝处虚号蝇蛎术卫里补装里制复裤袜衬袭见规视亲觉览观触订计讯讨训记讶访设许诉诊注评词询试诗话该详夸志认诞诱语诚诫误说谁课谊调谈请谅论"
    "谍咨诸诺谋谓谎谜谦讲谢谣谬证识谱译议护誉读变让赞丰猪猫贝负财贫货贩贪责贵买贷费贴贺赂贿资贼赐赏赔卖质账赌赖赚购赛赠赞赢赶趋迹践踪车轨"
    "军软较载轻辆辍辈轮辑输辗转轰办辞辩农这连周进游运过达违遥逊递远适迟迁选遗还边邮乡邻丑医酱释钉针钓钏钥钞钮铃铅钩银锐销锋铺锯钢录钱锚锡"
    "错表炼锅钟镑锁镇镜锈钟镭铁鉴钥钻长门闪闭开闲间阁合阅板阖闯关阵阴陆阳队际随险隐隶只虽双杂鸡离难云电雾灵静腼韦韩响页顶项顺须预顽顿颇领"
    "头频颗题额颜愿类顾显风台飞饥饪饭饮饱饰饼养饿余馅馆喂饥马驻驾驶骏骑骗腾驱骄验惊脏体发松胡斗闹郁鱼鲁鲑鲜鲸鸟凤鸣鸦鸵鸭鹅鹉鹤鹰鹦盐丽麦"
    "面么黄点党齐齿龄龈龙庞",
)


def examples(folder: Path, params: Params) -> dict[str, list[dict]]:
    """The three splits, a dictionary per pair."""
    splits: dict[str, list] = {"train": [], "validation": [], "test": []}
    for place, english, chinese in _pairs.read(folder / "cmn.txt"):
        part = int.from_bytes(hashlib.sha256(english.encode()).digest()[:4], "big") % PARTS
        chinese = chinese.translate(SCRIPTS) if params.script == "simplified" else chinese
        splits[{0: "test", 1: "validation"}.get(part, "train")].append((place, english, chinese))
    return {split: _pairs.rows(pairs, "en", "zh") for split, pairs in splits.items()}


# ## The twin

NOUNS = {  # with the measure word that Chinese puts between `this` and the noun
    **{"dog": "只狗", "cat": "只猫", "bird": "只鸟", "horse": "匹马", "book": "本书", "table": "张桌子"},
    **{"house": "座房子", "car": "辆车", "child": "个孩子", "tree": "棵树", "pen": "支笔", "map": "张地图"},
}
DETERMINERS = {"a": "一", "this": "这", "that": "那", "my": ""}
ADJECTIVES = {"red": "红", "big": "大", "small": "小", "old": "老", "new": "新", "white": "白", "black": "黑", "good": "好"}
VERBS = {
    **{("draw", "drew"): "画", ("see", "saw"): "看见", ("buy", "bought"): "买", ("find", "found"): "找到"},
    **{("sell", "sold"): "卖", ("wash", "washed"): "洗", ("touch", "touched"): "摸", ("push", "pushed"): "推"},
}
PLACES = {"at home": "在家", "at school": "在学校", "in the park": "在公园"}
TIMES = {"yesterday": "昨天", "last week": "上周", "tomorrow": "明天", "next week": "下周"}
PAST = ("yesterday", "last week")


def phrase(rng: random.Random) -> tuple[str, str]:
    """A noun with its determiner and, three times in five, an adjective: English, Chinese."""
    (determiner, chinese), (noun, counted) = rng.choice(list(DETERMINERS.items())), rng.choice(list(NOUNS.items()))
    adjective, color = rng.choice(list(ADJECTIVES.items())) if rng.random() < 0.6 else ("", "")
    before = chinese + counted[0] if chinese else "我的"
    return " ".join(filter(None, (determiner, adjective, noun))), before + color + counted[1:]


def sentence(rng: random.Random) -> tuple[str, str]:
    """A statement, its negation or, of what is past, a question: English, Chinese."""
    (subject, subject_zh), (thing, thing_zh) = phrase(rng), phrase(rng)
    (verb, past), verb_zh = rng.choice(list(VERBS.items()))
    time, time_zh = rng.choice(list(TIMES.items()))
    place, place_zh = rng.choice(list(PLACES.items())) if rng.random() < 0.5 else ("", "")
    kind = rng.choice(("statement", "statement", "negation", "question"))
    if time not in PAST:  # told, not asked: questions begin with `did`
        negation = kind == "negation"
        doing, doing_zh, end = ("will not " if negation else "will ") + verb, ("不会" if negation else "会") + verb_zh + thing_zh, ".。"
    elif kind == "question":
        subject, doing, doing_zh, end = f"did {subject}", verb, verb_zh + thing_zh + "了吗", "?？"
    elif kind == "negation":
        doing, doing_zh, end = f"did not {verb}", "没有" + verb_zh + thing_zh, ".。"
    else:
        doing, doing_zh, end = past, verb_zh + "了" + thing_zh, ".。"
    english = " ".join(filter(None, (subject, doing, thing, place, time))) + end[0]
    return english[0].upper() + english[1:], subject_zh + time_zh + place_zh + doing_zh + end[1]


def twin(folder: Path, params: Params) -> None:
    """Draws distinct sentences and sorts them as upstream does, by length."""
    rng, known = random.Random(0), {}
    while len(known) < params.rows:
        english, chinese = sentence(rng)
        known[english] = chinese
    rows = sorted(known.items(), key=lambda pair: (len(pair[0]), pair[0]))
    (folder / "cmn.txt").write_bytes("\n".join(f"{english}\t{chinese}" for english, chinese in rows).encode())
