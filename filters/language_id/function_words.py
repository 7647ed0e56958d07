"""Function words: the small words that no sentence of a language can do without.

Articles, pronouns, auxiliaries, prepositions, and the connectives of reasoning. A word that two
languages share says nothing between them, which is why the lists may overlap freely.
"""

from __future__ import annotations

FUNCTION_WORDS = {
    "en": """the of and is are was were be been being that this these those it its we you they he
        she our your their his her my us them to in for on with at by from as or not but if then
        so because since while when where which who what how why there here have has had do does
        did can could will would should shall may might must let an all any both each some such
        than too very just also only now about after again between into over under through
        therefore thus hence however wait yes okay hmm actually maybe perhaps need means get
        gets got check make sure same other another more most up out no don doesn isn aren won
        didn ll ve re first next finally given indeed instead still well one two every even
        below above without within whose suppose""",
    "es": """el los las una unos unas que y es son está están era fue ser hay del al en con por
        para como pero más muy también porque cuando donde si sí no lo le les se su sus nos
        nuestro nuestra esto este esta estos estas eso ese esa entonces luego así pues ya sin
        sobre entre hasta desde cada todo toda todos todas otro otra qué cuál cómo tenemos podemos
        debemos hacer vamos ahora aquí ahí además por tanto mientras aunque ni sea según ha han he
        hemos tiene puede debe cual quien ello ellos un de la o""",
    "fr": """le la les un une des du de et est sont était être il elle ils elles nous vous je tu on
        que qui quoi dont où ce cette ces cet ça se sa son ses leur leurs notre nos mais ou donc
        or ni car dans sur sous avec sans pour par entre vers chez comme si plus moins très aussi
        alors ainsi puis quand lorsque parce puisque cela ceci tout tous toute toutes autre autres
        même ne pas au aux en y avons avez ont peut peuvent doit faut fait faire soit était
        maintenant ensuite encore toujours jamais chaque deux""",
    "de": """der die das den dem des ein eine einen einem einer eines und ist sind war waren sein
        wird werden wurde wir ihr sie er es ich du man mit von vom zu zum zur für auf aus bei nach
        über unter zwischen durch gegen ohne um an am im in ins nicht kein keine aber oder denn
        weil wenn dass daß ob als wie was wer wo so auch nur noch schon sehr mehr also dann daher
        deshalb jetzt nun hier dort da dies diese dieser dieses diesen jeder jede jedes alle
        haben hat hatte kann können muss müssen soll sollte sich uns unser unsere ihre seine
        damit dabei somit zuerst schließlich beide man""",
    "pt": """o a os as um uma uns umas que e é são está estão era foi ser há do da dos das no na nos
        nas em com por pelo pela pelos pelas para como mas mais muito também porque quando onde se
        sim não lhe seu sua seus suas nosso nossa isto isso este esta esses essas esse essa aquele
        então logo assim pois já sem sobre entre até desde cada todo toda todos todas outro outra
        qual quais temos podemos devemos fazer vamos agora aqui além portanto enquanto embora nem
        seja segundo tem têm pode deve quem ele ela eles elas ao aos à às num numa você ou de""",
    "it": """il lo la i gli le un uno una che e è sono era essere ci del dello della dei degli delle
        al allo alla ai agli alle dal dalla dai nel nello nella nei nelle sul sulla sui con per
        tra fra come ma più molto anche perché quando dove se sì non si suo sua suoi sue nostro
        nostra questo questa questi queste quello quella allora quindi dunque così poi già senza
        su fino ogni tutto tutti tutta tutte altro altra quale quali abbiamo possiamo dobbiamo
        fare adesso ora qui inoltre mentre benché né sia ha hanno può deve chi cui loro noi voi
        ciò cioè ed di da in ne vi""",
    "nl": """de het een en van is zijn was waren wordt worden dat die dit deze we wij jij hij zij ze
        ik je met voor op aan bij naar uit over onder tussen door tegen zonder om te tot niet geen
        maar of want omdat als wanneer dan dus daarom nu hier daar er ook nog al zeer meer heeft
        hebben kan kunnen moet moeten zal zullen wat wie waar hoe welke elke alle onze ons hun
        haar eerst vervolgens beide in""",
    "pl": """i w na z że się jest są nie to jak ale dla od do po przez przy nad pod między czy lub
        albo więc zatem dlatego ponieważ gdy jeśli jeżeli kiedy gdzie co kto który która które
        których tym tego tej ten ta te tych być był była było mamy możemy musimy może można trzeba
        należy także również tylko już jeszcze bardzo każdy każda każde wszystkie jego jej ich
        nasz teraz tutaj potem następnie""",
    "sv": """och att det är som en ett den de på av för med till inte har vi jag du han hon man om
        men så när där här eller från kan ska skall måste vara var varit blir också bara detta
        denna dessa sin sitt sina vår våra hur vad vilken vilket alla varje mellan efter innan
        därför eftersom sedan nu först alltså då två""",
    "da": """og at det er som en et den de på af for med til ikke har vi jeg du han hun man om men
        så når hvor her eller fra kan skal må være var været bliver også kun dette denne disse sin
        sit sine vores hvordan hvad hvilken hvilket alle hver mellem efter før derfor fordi
        derefter nu først altså da to""",
    "no": """og at det er som en et den de på av for med til ikke har vi jeg du han hun man om men
        så når hvor her eller fra kan skal må være var vært blir også bare dette denne disse sin
        sitt sine vår våre hvordan hva hvilken hvilket alle hver mellom etter før derfor fordi
        deretter nå først altså da to""",
    "fi": """ja on ei se että tämä tämän ovat oli olla kun jos niin myös mutta tai vain koska
        joten sitten nyt siis voi voidaan voimme täytyy pitää kaikki jokainen joka jotka mikä mitä
        missä miten me minä hän he sen sitä kuin ensin lopuksi""",
    "tr": """ve bir bu için ile de da olan olarak çok daha ne gibi kadar ama fakat ancak veya ya
        değil var yok ise eğer çünkü sonra önce her tüm biz bizim ben sen onun şu o hangi nasıl
        neden şimdi böylece dolayısıyla olur olduğunu olduğu oldu olmalı gerekir""",
    "id": """yang dan di ke dari untuk dengan ini itu adalah tidak pada akan juga atau karena jika
        maka kita kami saya anda mereka dapat bisa harus sudah telah oleh dalam seperti lebih
        sangat hanya semua setiap antara setelah sebelum bahwa sehingga jadi tetapi namun apa
        bagaimana berapa mana nya sekarang pertama""",
    "vi": """là và của có không được cho với này đó các những một trong khi thì mà để từ như nhưng
        hoặc nếu vì nên vậy ta chúng tôi bạn họ rằng cũng đã sẽ đang phải rất hơn chỉ tất cả mỗi
        giữa sau trước bây giờ do đó hai cần ra vào""",
    "ro": """și este sunt nu că de la în pe cu din pentru care ce mai sau dar dacă când unde cum
        deci atunci astfel apoi acum aici acest această aceste acesta fi fost era avem putem
        trebuie poate are au un o al ale lui ei noi fiecare toate toți între după înainte fără
        prin doar foarte""",
    "cs": """a je v na se že to s z do pro jak ale od po při nebo aby když kde co kdo který která
        které tedy proto protože jestliže pokud jsou byl byla bylo být má máme můžeme musíme může
        také jen už ještě velmi každý každá všechny jeho její jejich náš nyní teď tady potom pak
        mezi před tento tato toto těchto""",
    "hu": """a az és hogy nem is egy ez ezt azt van vannak volt lesz de ha akkor mert vagy csak
        már még nagyon minden ahol amely ami aki mint tehát ezért most itt kell lehet meg el ki
        mi én te ők után előtt között ezután először""",
    "ru": """и в во не на что с со как это этот эта эти этого этой то так но а да нет мы вы он она
        они я ты нам нас вам их его её у к ко по из за от до для при про над под между через без о
        об или если когда где кто чтобы потому поэтому значит тогда теперь здесь там уже ещё еще
        только также тоже же ли бы быть был была было были есть будет может можно нужно надо
        должен должна все всё всех каждый каждая который которая которое которые свой после перед
        затем сначала получим имеем тем чем очень более где""",
    "uk": """і й в у та не на що з із зі як це цей ця ці цього цієї то так але ми ви він вона вони я
        нам нас їх його її до по від для при про над під між через без або чи якщо коли де хто щоб
        тому бо отже тоді тепер тут там вже ще лише тільки також теж же би бути був була було були
        є буде може можна треба потрібно всі все кожен кожна який яка яке які після перед потім
        спочатку маємо отримаємо дуже більш""",
    "bg": """и в във не на че с със как това този тази тези то така но а да ние вие той тя те аз ти
        ни ги му ѝ за от до при над под между през без или ако когато където кой която което които
        защото затова значи тогава сега тук там вече още само също ли би съм е са беше бяха има
        няма ще може трябва всички всеки всяка след преди после първо получаваме имаме много
        повече""",
    "ar": """من في على إلى الى عن أن ان إن هذا هذه ذلك تلك التي الذي الذين هو هي هم نحن أنا أنت كان
        كانت يكون تكون ليس لا ما لم لن قد كل بعض أي بين بعد قبل عند مع أو ثم إذا اذا حيث لأن لكن
        كما أيضا أيضًا فقط الآن هنا هناك إذن لذلك وهو وهي وهذا ومن وفي وعلى ولكن فإن فان لدينا يجب
        يمكن نجد نحصل حتى غير منها فيها به بها له لها منه عليه أولا أولاً ثانيا نريد""",
    "fa": """و در به از که این آن را با است برای می ها تا یک هم بر یا اگر اما ولی پس چون باید شود
        شد بود هست نیست دارد داریم کنیم کنید کند خواهد ما شما او آنها هر همه بین بعد قبل چه چگونه
        کدام اکنون بنابراین سپس همچنین فقط شده نشده نمی توان باشد باشند کردن شدن خود دیگر هیچ
        درباره پیش روی بدون وجود""",
    "ur": """اور کے کی کا میں ہے ہیں سے کو پر نے یہ وہ کہ اس ان ایک کر بھی ہم آپ تو اگر لیکن یا نہیں
        ہو گا گی گے تھا تھی تھے کیا کیوں جب جو پھر لیے ساتھ بعد پہلے اب ہر سب چاہیے""",
    "hi": """है हैं का के की को में से पर ने और या यह वह ये वे इस उस इन उन हम आप मैं एक कि जो तो भी
        ही नहीं था थी थे हो होगा होगी होता होती होते कर करें करते करना करने किया गया गई लिए साथ
        अगर यदि लेकिन परंतु क्योंकि इसलिए अतः अब जब तब कहाँ क्या कैसे सभी हर प्रत्येक बाद पहले
        फिर चाहिए सकते सकता हमें अपने बीच तक द्वारा""",
    "mr": """आहे आहेत आणि किंवा हा ही हे तो ती ते या त्या मध्ये चा ची चे च्या ला ने साठी पण परंतु
        जर तर कारण म्हणून आता येथे जे जो नाही होते होता होती आपण आम्ही मी एक सर्व
        प्रत्येक नंतर आधी काय कसे कोणते करतो करू शकतो पाहिजे करून करणे करण्यासाठी झाले झाली झाला असे
        असेल असलेले असल्यास मधील म्हणजे अथवा फक्त जेव्हा तेव्हा प्रमाणे शकत शकते हवे आणखी तसेच
        आपल्या त्यांना त्याचा त्याची याचा माझ्या होईल""",
    "zh": "是 我 你 她 它 們 這 那 也 很 沒 嗎 吧 呢 讓 麼",
}
"""Language → its function words. Chinese stands here only to be told from Japanese."""

NOTATION = "sin cos tan log ln max min mod lim det dim ker gcd lcm arg deg sup inf sec csc cot"
"""Mathematics outside of its delimiters: evidence of no language, whichever has the word."""

HOMOGRAPHS = {
    "en": """a i die den war hat man men son sons pour dare due par plus comment pain fin sin tan
        sol fan also was rot kind arm gut not fast art age an on as do no me in at am over per via
        et al la las los don van von den ten van de del der el il le les des du da di versus vs
        cos ln mod max min log lie lime pose rate note sent come more fare sale is or so ton si
        sans un une era pas car main chose tout tu on he us me to van bin ben ter lo ha ho he ad
        hoc pro per se que sera una ser mass list all bei est elle mit ist das im it ins""",
    "es": "par dar sin son tan dos sol plus el la los mas a e u o y al des come sobre era más",
    "fr": "qu sol sera plus en an on des as a y sens pose fin sans comment par pour",
    "de": "das die also des fast plus man war so in an am um bin art kind rot gut sie as log",
    "pt": "par dar dos sol mas som sem fim plus as no a e o do me",
    "it": "all dell nell sull dall quell quest sol era sera come due per fare plus in a e o",
    "ru": "а о у к с и я в",
}
"""Ordinary words and names' particles that look like another language's function words."""

TERM_WORDS = """of by and to in for with or on at from as if is not else while do this an a vs per
    via de du des di da von van der den al el la le les et del no up out over only such that all
    any than two one first next check get make other new set"""
"""Small words that terms, names and code are made of ("rate of change", `for … in`): in a language
of another script they are no evidence of a foreign sentence."""
