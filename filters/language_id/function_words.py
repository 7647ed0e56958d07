"""Word lists: function words of languages without a list, words of reasoning, terms.

Next to them stands what says nothing of a language: notation, keywords, the small words that terms
are made of, and phrases that every language borrows.
"""

from __future__ import annotations

FUNCTION_WORDS = {
    "mr": """आहे आहेत आणि किंवा हा ही हे तो ती ते मी आपण आम्ही तुम्ही त्या या ज्या कोणते काय कसे
        किती कुठे केव्हा नाही नाहीत नव्हते होता होती होते होतील असेल असते असतो असतात असली असले
        असा अशी असे असेच आता येथे तेथे इथे तिथे मध्ये वर खाली आत बाहेर साठी पासून पर्यंत नंतर
        आधी पूर्वी सोबत बरोबर शिवाय विना कडे कडून मुळे म्हणून त्यामुळे कारण पण परंतु तर जर मग
        तरी सुद्धा देखील फक्त केवळ सर्व सगळे काही प्रत्येक दोन्ही दोन तीन चार पाच सहा सात आठ
        नऊ दहा पहिला पहिली पहिले पहिल्या दुसरा दुसरी दुसरे दुसऱ्या तिसरा शेवटी शेवटचा पुन्हा
        एकदा परत पुढे मागे खूप फार जास्त कमी मोठा मोठी मोठे लहान समान सम विषम संख्या संख्येला
        संख्यांची बेरीज वजाबाकी गुणाकार भागाकार उत्तर प्रश्न प्रश्नात गणित गणितात म्हणजे मिळते
        मिळतो मिळतात मिळेल मिळवू येते येतो येतात येईल जाते जातो जातात जाईल करतो करते करतात करू
        करून केले केली केला करावे करावी लागेल लागते लागतात पाहिजे पाहिजेत हवे हवी शकतो शकते
        शकतात शकत शकेल पाहू पाहतो बघू लिहितो लिहू घेऊ घेतो घेतल्यास दिले दिलेली दिलेल्या देतो
        देते राहते राहतात उरते उरतात उरले झाला झाली झाले होऊ शोधू शोधणे तपासू तपासतो मोजू
        आपल्याला मला त्याला तिला त्यांना त्याचा त्याची त्याचे यांचा यांची याचा याची याचे माझा
        माझे आपला आपले स्वतः एका एकाच अर्थ प्रकारे पायरी पायरीनंतर बाजू बाजूंना नियम नियमाने
        सोपा सोप्या वेगळा वेगळी योग्य चूक खरे नेमके विचारले जोडलेल्या पुरेसे चा ची चे च्या ला
        ने जे जो एक करणे करण्यासाठी असलेले असल्यास मधील अथवा जेव्हा तेव्हा प्रमाणे आणखी तसेच
        आपल्या माझ्या होईल""",
    "sw": """ya na wa kwa ni katika la za cha hii kama hiyo kuwa hivyo lakini pia au yake hapa sasa
        kisha baada kabla kila yote wote huu huo hizi hizo tuna una ana ina tunapata kwanza
        pili mbili moja tatu jumla jibu basi ikiwa ambayo ambao sana tu si hakuna kuna lazima
        tunaweza unaweza sawa namba gawanya ongeza""",
    "af": """die en van is in het wat nie vir met dat op sy te aan ons hulle ek jy hy sal kan moet
        as maar of dan so ook nog net omdat dus daarom nou hier daar hierdie elke alle eerste
        twee""",
    "et": """ja on ei see et kui ka oli ta mis aga või siis ning seda selle kes mida oma veel nii
        ainult sest nüüd siin seal meie teie nemad peab saab võib olema iga kõik esimene kaks
        seega järelikult""",
    "sq": """dhe në të e është për me që nga një nuk do si por ka janë ai ajo kjo ky ne ju ata tek
        edhe vetëm sepse nëse atëherë tani këtu atje çdo gjithë duhet mund pastaj prandaj""",
    "ne": """छ र को का मा ले हो यो त्यो पनि लाई गर्न भने तर एक हामी म तपाईं उनी यदि किनभने त्यसैले
        अब यहाँ त्यहाँ सबै प्रत्येक छन् थियो भयो गर्नुपर्छ सकिन्छ""",
}
"""Language → its most frequent words, in order, where wordfreq has no list."""

CONNECTIVES = {
    "en": """so therefore hence thus however first second next then finally wait actually okay check
        let maybe perhaps since because suppose assume gives equals indeed but which that those
        these is are we they our their was were been had would should could must although""",
    "de": """denn also damit daher deshalb somit folglich zuerst dann danach schließlich moment
        eigentlich vielleicht zunächst prüfen rechnen ergibt gleich gilt jedoch trotzdem außerdem
        zudem deswegen allerdings nämlich weil dagegen""",
    "fr": """or donc ainsi alors ensuite puis enfin abord attends attendez cependant vérifions
        calculons on donne égal supposons car pourtant toutefois parce puisque maintenant
        finalement voilà""",
    "es": """ahora entonces luego así además primero después finalmente espera quizás quizá porque
        comprobemos comprobamos sumamos dividimos obtenemos da igual resulta pues embargo pero
        aunque también entretanto""",
    "it": """ora quindi allora dunque poi infine prima inoltre aspetta forse perché verifichiamo
        controlliamo sommiamo dividiamo otteniamo ottiene uguale risulta però perciò comunque
        infatti adesso cioè tuttavia""",
    "pt": """agora então assim portanto logo depois primeiro finalmente espere espera talvez porque
        verificamos somamos dividimos obtemos dá igual resulta porém contudo entretanto também
        depois""",
    "nl": """dus daarom vervolgens eerst daarna tenslotte wacht misschien omdat controleren delen
        optellen krijgen gelijk echter maar want toch""",
    "pl": """więc zatem stąd najpierw potem następnie wreszcie czekaj może ponieważ sprawdzamy
        dodajemy dzielimy otrzymujemy daje równa równe wynosi jednak teraz czyli natomiast""",
    "sv": """alltså därför sedan först sist vänta kanske eftersom kontrollera delar får lika däremot
        därefter""",
    "da": """altså derfor derefter først til sidst vent måske fordi kontrollere deler får lig""",
    "no": """altså derfor deretter først til slutt vent kanskje fordi sjekke deler får lik""",
    "tr": """öyleyse dolayısıyla böylece önce sonra ardından bekle belki çünkü kontrol topluyoruz
        bölüyoruz elde eder yani ancak fakat şimdi""",
    "id": """jadi maka sehingga pertama kemudian lalu akhirnya tunggu mungkin karena periksa
        jumlahkan bagi hasilnya adalah""",
    "ms": """jadi maka oleh itu pertama kemudian akhirnya sekejap mungkin kerana semak tambahkan
        bahagikan hasilnya ialah""",
    "vi": """vậy do đó trước tiên sau đó cuối cùng khoan có lẽ bởi vì kiểm tra cộng chia được bằng
        suy ra nhưng""",
    "ru": """значит следовательно поэтому итак сначала затем потом наконец стоп возможно потому
        проверим проверка складываем делим получаем отсюда равно однако теперь тогда""",
    "uk": """отже тому тоді спочатку потім нарешті стоп можливо бо перевіримо додаємо ділимо
        отримаємо маємо дорівнює однак тепер""",
    "cs": """tedy proto takže nejprve potom pak nakonec protože však ovšem zkontrolujme
        dostaneme""",
    "ro": """deci așadar prin urmare apoi întâi deoarece totuși însă verificăm obținem împărțim""",
    "hu": """tehát ezért először aztán végül mert azonban ellenőrizzük kapjuk osztjuk""",
    "fi": """siis joten ensin sitten lopuksi koska kuitenkin tarkistetaan saadaan jaetaan""",
    "ar": """إذن لذلك ثم أولا أخيرا انتظر ربما لأن نتحقق نجمع نقسم نحصل يساوي وبالتالي""",
    "hi": """इसलिए अतः फिर पहले अंत रुको शायद क्योंकि जाँच जोड़ते भाग मिलता बराबर यानी""",
    "mr": """म्हणून त्यामुळे आधी मग नंतर शेवटी थांबा कदाचित कारण तपासू मिळवू भागू मिळते बरोबर""",
}
"""Language → words of reasoning, more frequent there than in a list made from the web; of English,
which lends terms to all others, also words that clauses have and terms have not."""

NOTATION = "sin cos tan log ln max min mod lim det dim ker gcd lcm arg deg sup inf sec csc cot"
"""Mathematics outside of delimiters: not evidence of any language."""

TERM_WORDS = """of by and to in for with or on at from as if not else while do a an vs per via
    de du des di da von van der den al el la le les et del no up out over only such than two one
    first next get make other new set"""
"""Small words that terms, names and code are made of ("rate of change", `for … in`): in a language
of another script they are no evidence of a foreign sentence."""

OPENERS = "as not of in to at on with by no"
"""Of these, those with which a clause begins ("as expected", "of course") and hardly a term."""

KEYWORDS = """if for while return else elif and or not in true false none null def class import
    from print range len int str list dict set map max min abs sum begin end then do done iff let
    var const void new this self lambda where select group order by join on as with try except"""
"""Words of programs and of mathematics written out."""

PHRASES = """à la|à la carte|à la longue|à la mode|a la carte|a priori
    |a posteriori|a fortiori|ad hoc|ad absurdum|ad infinitum|ad nauseam|al dente
    |alma mater|alter ego|bona fide|bon voyage|c est la vie|carpe diem|ceteris paribus
    |cogito ergo sum|contradictio in adiecto|coup d état|cum laude|curriculum vitae|de facto
    |de jure|de novo|deja vu|déjà vu|deus ex machina|en passant|en route|ergo|et al|et cetera
    |ex aequo|ex ante|ex post|ex falso|ex falso quodlibet|faux pas|fait accompli|gedankenexperiment
    |ibid|id est|in silico|in situ|in vitro|in vivo|inter alia|ipso facto|je ne sais quoi
    |joie de vivre|lapsus linguae|lingua franca|magnum opus|mea culpa|modus operandi|modus ponens
    |modus tollens|mutatis mutandis|ne plus ultra|non sequitur|nota bene|par excellence
    |pars pro toto|per annum|per capita|per cent|per definitionem|per se|petitio principii
    |persona non grata|post hoc|prima facie|pro rata|quid pro quo|quod erat demonstrandum
    |quod erat faciendum|raison d être|reductio ad absurdum|sine qua non|status quo|sui generis
    |summa cum laude|tabula rasa|tant mieux|terra incognita|tertium non datur|versus|vice versa
    |vis à vis|vis a vis|viva voce|volte face|zeitgeist|ansatz|eigenvalue|eigenvector|eigenspace
    |schadenfreude|kindergarten|doppelgänger|angst|wunderkind|weltanschauung|bit by bit|by the way
    |fair play|happy end|know how|last but not least|on the fly|open source|state of the art
    |step by step|trial and error|work in progress|if and only if|without loss of generality
    |end of proof|big o|divide and conquer|brute force|such that|dolce vita|al fresco|prima vista
    |da capo|mano a mano|aficionado|hasta la vista|ancien régime|art déco|art nouveau|au contraire
    |au fait|au pair|avant garde|belle époque|bête noire|bon appétit|bon vivant|carte blanche
    |cause célèbre|comme ci comme ça|coup de grâce|coup de théâtre|crème brûlée
    |crème de la crème|déformation professionnelle|double entendre|enfant terrible|en garde
    |en masse|esprit de corps|femme fatale|fin de siècle|force majeure|haute couture
    |haute cuisine|hors d oeuvre|hors d œuvre|idée fixe|laissez faire|mise en place|mise en scène
    |noblesse oblige|nom de plume|nouveau riche|nouvelle vague|objet d art|pas de deux
    |pied à terre|pièce de résistance|plat du jour|savoir faire|savoir vivre|tête à tête
    |tour de force|trompe l œil|trompe l oeil|sturm und drang|gesamtkunstwerk|realpolitik
    |bildungsroman|hinterland|poltergeist|übermensch|zugzwang|auf wiedersehen|a cappella
    |commedia dell arte|mezzo soprano|prima donna|sotto voce|cosa nostra|tutti frutti|cinco de mayo
    |el niño|la niña|pur et dur|rien ne va plus|sans serif|table d hôte|vin de pays|roman à clef
    |casus belli|ex cathedra|ex libris|habeas corpus|in flagrante|in loco parentis|in medias res
    |memento mori|panem et circenses|pax romana|post mortem|pro bono|sub judice|ultra vires
    |vox populi|annus mirabilis|argumentum ad hominem|ad hominem|cum grano salis
    |ab initio|ab ovo|actus reus|ad libitum|advocatus diaboli|alea iacta est|alea jacta est
    |amicus curiae|anno domini|aurea mediocritas|conditio sine qua non|corpus delicti
    |de gustibus non est disputandum|dulce et decorum est|e pluribus unum|errare humanum est
    |et tu brute|ex nihilo|ex officio|ex post facto|festina lente|fiat lux|genius loci|hic et nunc
    |horror vacui|in absentia|in dubio pro reo|in toto|in vino veritas|magna cum laude|mens rea
    |nolens volens|nulla poena sine lege|obiter dicta|obiter dictum|ora et labora
    |pacta sunt servanda|per aspera ad astra|perpetuum mobile|primus inter pares|ratio decidendi
    |res ipsa loquitur|si vis pacem para bellum|sic transit gloria mundi|sine die|stare decisis
    |tempus fugit|tu quoque|ultima ratio|urbi et orbi|veni vidi vici|agent provocateur
    |après nous le déluge|au revoir|cherchez la femme|comme il faut|coup de foudre|en bloc
    |en famille|en plein air|film noir|honi soit qui mal y pense|je pense donc je suis
    |l art pour l art|l état c est moi|plein air|plus ça change|pot au feu|prêt à porter
    |rite de passage|sang froid|auf der stelle|ding an sich|gott sei dank|guten tag
    |kinder küche kirche|vorsprung durch technik|wille zur macht|mi casa es su casa|pico de gallo
    |que será será|viva la vida|allegro con brio|allegro ma non troppo|andante con moto
    |attacca subito|basso continuo|bel canto|col legno|con brio|con fuoco|con moto|con sordino
    |da capo al fine|dal segno|ma non troppo|mezza voce|opera buffa|opera seria|poco a poco
    |senza misura|senza sordino|tempo giusto"""
"""Phrases that are borrowed whole; between bars."""
